"""Does it: Celery tasks that take one step of one row at a time."""
