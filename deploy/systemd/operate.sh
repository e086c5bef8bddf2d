#!/bin/sh
# The commands for operators with the settings of the service, from any folder: /usr/local/sbin/toolforge-preview.
set -a
. /etc/toolforge-preview/settings.env
set +a
# What lies in the present folder is not imported.
PYTHONPATH=/opt/toolforge-preview exec /opt/toolforge-preview/.venv/bin/python -P -m deploy "$@"
