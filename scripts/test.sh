#!/usr/bin/env bash
# Checks and tests everything; the end-to-end tests start the real Triton and the real gateway.
# Arguments go to pytest: ./scripts/test.sh tests/unit -k stop

. "$(dirname "$0")/environment.sh" "server,local-triton,gateway,dev"
cd "$ROOT"
if [ $# -eq 0 ]; then
  ruff check .
  ruff format --check .
  mypy
  lint-imports --no-cache --no-logo
fi
# One thread each: the model under test, Triton's copy of it and pytest share the machine.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec python -m pytest "$@"
