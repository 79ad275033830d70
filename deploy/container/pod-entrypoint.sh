#!/usr/bin/env bash
# Triton and the gateway in one container: fetches the model if it is not there, starts both, and ends
# both when one ends. Only the gateway listens beyond loopback.
#
#   API_KEYS or API_KEYS_FILE   who may use it; ALLOW_ANONYMOUS=true if everybody may
#   TRITON_CONTROL_KEY          what Triton asks for before it loads a model (default: a random one)
#   MODEL_NAME                  a hub id; empty is the demo model in /data/models/demo

set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd "$root"

if [ -z "${API_KEYS:-}${API_KEYS_FILE:-}" ] && [ "${ALLOW_ANONYMOUS:-}" != true ]; then
  echo "error: set API_KEYS to the entries that 'persona keys new' prints, as a JSON list (or" \
    "ALLOW_ANONYMOUS=true if whoever finds the address may use it)" >&2
  exit 1
fi

# The servers never run as root, also where the container does.
as_user=()
if [ "$(id -u)" = 0 ]; then
  as_user=(setpriv --reuid=1000 --regid=1000 --clear-groups --inh-caps=-all --no-new-privs)
  mkdir -p "$MODEL_CACHE_DIR" "$VECTORS_DIR"
  # Which Triton writes, as 1000. If this fails, its entrypoint warns.
  if [ -n "${TRITON_CACHE_DIR:-}" ] && [ ! -e "$TRITON_CACHE_DIR" ]; then
    install --directory --owner=1000 --group=1000 "$TRITON_CACHE_DIR" || true
  fi
fi
if [ -n "$MODEL_NAME" ] && [ ! -d "$MODEL_NAME" ]; then
  python3 scripts/download_models.py "$MODEL_NAME"
fi

# By which the gateway may reload a model that has died, and nobody else.
if [ -z "${TRITON_CONTROL_KEY:-}" ]; then
  TRITON_CONTROL_KEY="$(python3 -c 'from triton_models import control; print(control.new_key())')"
fi
export TRITON_CONTROL_KEY

"${as_user[@]}" deploy/container/triton-entrypoint.sh \
  --http-address=127.0.0.1 --grpc-address=127.0.0.1 --metrics-address=127.0.0.1 "$@" &
triton=$!
"${as_user[@]}" python3 -m gateway &
gateway=$!

# Once: a second signal must not cut the open answers short.
# shellcheck disable=SC2329  # the trap calls it
stop() {
  trap '' TERM INT
  stopping=true
  kill -TERM "$gateway" 2>/dev/null || true
  wait "$gateway" || true
  kill -TERM "$triton" 2>/dev/null || true
  wait "$triton" || true
}
stopping=false
trap stop TERM INT

wait -n "$triton" "$gateway" || true
if [ "$stopping" = true ]; then
  exit 0
fi
echo "error: a server has ended by itself" >&2
stop
exit 1
