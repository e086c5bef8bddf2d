"""``python -m deploy``: the command line, where it is not installed as ``toolforge-preview``."""

from deploy.cli import main

main()
