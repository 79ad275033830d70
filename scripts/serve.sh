#!/usr/bin/env bash
# Runs the real Triton Inference Server with the steered model, and the REST gateway, until Ctrl-C.
# The first run installs everything into .venv. docs/configuration.md lists the environment variables.

. "$(dirname "$0")/environment.sh" "server,local-triton,gateway"
exec python -m launcher
