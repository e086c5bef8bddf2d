"""The local GitLab against GitLab's own behaviour, over real HTTP and git."""
