#!/usr/bin/env bash
# All processes in one container, to look at: the state is gone with it, and it knows no GitLab.
# The web process listens at the address that is given, such as 0.0.0.0:8000.
set -euo pipefail

folder=$(mktemp -d)
# Where containers share one network, as on a local Toolforge, any fixed port may be taken.
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
password=$(python -c 'import secrets; print(secrets.token_hex(16))')
export TOOLFORGE_PREVIEW_REDIS_URL="redis://:$password@127.0.0.1:$port/0"
export TOOLFORGE_PREVIEW_DATABASE_URL="sqlite:///$folder/preview.db"
export TOOLFORGE_PREVIEW_GITLAB_TOKEN=none
export TOOLFORGE_PREVIEW_PUBLIC_URL="${PREVIEW_URL:-http://127.0.0.1:${PORT:-8000}}"
TOOLFORGE_PREVIEW_PUBLIC_URL=${TOOLFORGE_PREVIEW_PUBLIC_URL%/}

python -m deploy redis --bind 127.0.0.1 &
python -m deploy migrate
python -m celery --quiet --app worker.app worker --pool threads --concurrency 4 \
    --queues toolforge,teardown,gitlab,clock --without-gossip --without-mingle --without-heartbeat &
python -m celery --quiet --app worker.app beat --pidfile '' &
python -m gunicorn --config python:web.serving --bind "$1" 'web.app:create_app()' &

# One that ends takes the container down, and Toolforge starts it anew.
trap 'kill $(jobs -p) 2>/dev/null' TERM INT EXIT
wait -n
