#!/usr/bin/env bash
# Writes deploy/requirements/*.txt: what the images install, with the hash of every file.
# Run it after a pin in pyproject.toml has changed; a test says when that was forgotten.

. "$(dirname "$0")/environment.sh" "server,local-triton,gateway,dev"
cd "$ROOT"

lock() {
  local image="$1" python="$2"
  shift 2
  # No local configuration: the hashes have to be those of the public index's files.
  env -u PIP_FIND_LINKS -u UV_FIND_LINKS uv pip compile pyproject.toml "$@" \
    --no-config --quiet --generate-hashes --no-emit-package persona-triton \
    --python-version "$python" --python-platform x86_64-manylinux_2_28 --only-binary :all: \
    --custom-compile-command ./scripts/lock_requirements.sh \
    --output-file "deploy/requirements/$image.txt"
}

# 3.10 is the Python of Triton 24.10's image.
lock triton 3.10 --extra server
lock pod 3.10 --extra server --extra gateway --extra telemetry
lock gateway 3.11 --extra gateway --extra telemetry
