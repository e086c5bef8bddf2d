"""A Toolforge and a GitLab on this machine. Imports nothing of the product: it speaks HTTP and git only."""
