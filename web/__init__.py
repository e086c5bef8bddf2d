"""Flask: the webhook, the badge and the maintainer pages."""
