#!/usr/bin/env bash
# Runs the real Triton Inference Server with the steered model, and the REST gateway, until Ctrl-C.
# The first run installs everything into .venv. docs/configuration.md lists the environment variables.

. "$(dirname "$0")/environment.sh" "server,local-triton,gateway,research"

# Without MODEL_NAME it is the embedded model with its vectors, or the demo model if that is not there.
choose_model() {
  local status=0
  MODEL_NAME="$(python "$ROOT/scripts/make_embedded_model.py")" || status=$?
  case "$status" in
    0) export VECTORS_DIR="${VECTORS_DIR:-$ROOT/data/vectors-smollm2-135m-persona}" ;;
    1) MODEL_NAME=demo && echo "setup: serving the demo model instead" >&2 ;;
    *) exit "$status" ;;
  esac
  export MODEL_NAME
}

[ -n "${MODEL_NAME:-}" ] || choose_model
exec python -m launcher
