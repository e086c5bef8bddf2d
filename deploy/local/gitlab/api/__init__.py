"""GitLab's REST API, version 4: one module per resource, each a set of routes on `routes`."""
