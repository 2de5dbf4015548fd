#!/bin/sh
# Each secret as an environment variable of its file's name: pipeline files write ${POSTGRES_PASSWORD}.
# Only this process and its children see them; `docker inspect` doesn't.
set -eu
for file in /run/secrets/*; do
    if [ -f "$file" ]; then
        name=$(basename "$file" | tr '[:lower:]' '[:upper:]')
        export "$name=$(cat "$file")"
    fi
done
exec "$@"
