#!/usr/bin/env bash
# Checks and tests, three files of tests at a time.
#   ./scripts/test.sh                       all that CI checks; starts the real Triton and gateway
#   ./scripts/test.sh quick                 the quick unit tests: for people at work
#   ./scripts/test.sh tests/unit -k stop    only these: arguments go to pytest

. "$(dirname "$0")/environment.sh" "server,local-triton,gateway,dev"
cd "$ROOT"
# One thread each: the models under test, Triton's copies of them and pytest share the machine.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Hundreds of processes are started: none is to compile again what another has compiled.
unset PYTHONDONTWRITEBYTECODE
# A file's tests share servers, so one worker takes them all; tests/conftest.py has the order.
# One worker more than cores, since they often wait for programs that they started.
workers=(--dist loadfile --no-loadscope-reorder --numprocesses "${TEST_WORKERS:-3}")

case "${1-}" in
  "")
    ruff check .
    ruff format --check .
    lint-imports --no-cache --no-logo
    said="$(mktemp)"
    trap 'rm -f "$said"' EXIT
    mypy >"$said" 2>&1 &
    types=$!
    failed=0
    python -m pytest "${workers[@]}" || failed=1
    wait "$types" || failed=1
    cat "$said"
    exit "$failed"
    ;;
  quick)
    exec python -m pytest "${workers[@]}" -m "not slow" tests/unit "${@:2}"
    ;;
  *)
    exec python -m pytest "$@"
    ;;
esac
