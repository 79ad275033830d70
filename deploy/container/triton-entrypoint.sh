#!/usr/bin/env bash
# Starts Triton with this project's models in the container; arguments go to tritonserver.
#
#   TRITON_CONTROL_KEY    the secret by which gateways may load models (default: a random one)
#   TRITON_HTTP_PORT      Triton's HTTP port (default 8000)
#   TRITON_EXIT_SECONDS   how long open answers may go on after SIGTERM (default 30)
#   TRITON_CACHE_DIR      where compiled GPU kernels are kept (in the image /cache)
#
# What the model reads (MODEL_NAME, MODEL_CACHE_DIR, VECTORS_DIR, ...) stands in the README.

set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

fail() {
  echo "error: $*" >&2
  exit 1
}

check_folder() {
  local variable="$1" folder="$2" holds="$3"
  if [ ! -r "$folder" ] || [ ! -x "$folder" ]; then
    fail "$variable is $folder, which user $(id -u) cannot read: mount the folder of $holds there" \
      "(docker run -v \"\$PWD/data:/data\" ...)"
  fi
}

check_folder MODEL_CACHE_DIR "${MODEL_CACHE_DIR:-$root/data/models}" models
check_folder VECTORS_DIR "${VECTORS_DIR:-$root/data/vectors}" "steering vectors"

can_write() {
  mkdir -p "$1" 2>/dev/null && [ -w "$1" ] && [ -x "$1" ]
}

kernels="${TRITON_CACHE_DIR:-}"
if [ -n "$kernels" ] && ! can_write "$kernels"; then
  echo "warning: TRITON_CACHE_DIR is $kernels, which user $(id -u) cannot write: GPU kernels are" \
    "compiled again at each start, or not at all. Mount a volume there" \
    "(docker run -v persona-kernels:/cache ...)" >&2
fi

# Requests pass between Triton and its Python processes through shared memory.
shared_memory_mib="$(($(stat --file-system --format '%S * %b' /dev/shm) / 1048576))"
if [ "$shared_memory_mib" -lt 256 ]; then
  echo "warning: /dev/shm has $shared_memory_mib MiB, which many requests at once can use up:" \
    "give it 1 GiB (docker run --shm-size 1g, or an emptyDir of medium Memory)" >&2
fi

# Who loads a model runs its code: that, shared memory, traces and logs are for those alone who know a
# secret. The list of processes shows it, to this container and to whoever rules the machine.
if [ -z "${TRITON_CONTROL_KEY:-}" ]; then
  echo "warning: TRITON_CONTROL_KEY is not set, so that no gateway can reload a model that has died:" \
    "set it to the same secret here and there (openssl rand -hex 32)" >&2
  TRITON_CONTROL_KEY="$(python3 -c 'from triton_models import control; print(control.new_key())')"
fi
export TRITON_CONTROL_KEY
# In a variable first, so that a failure ends this script.
arguments="$(python3 -m triton_models.control)"
mapfile -t restrictions <<<"$arguments"

# A CPU's step reads every weight once, and takes a twentieth less time with huge pages,
# which malloc takes in one piece in its first arena only.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1}"

port="${TRITON_HTTP_PORT:-8000}"
patience="${TRITON_EXIT_SECONDS:-30}"

tritonserver \
  --model-repository="$root/model_repository" \
  --model-control-mode=explicit \
  --load-model='*' \
  --disable-auto-complete-config \
  --backend-config=python,stub-timeout-seconds=3600 \
  --http-port="$port" \
  --exit-timeout-secs=15 \
  "${restrictions[@]}" \
  "$@" &
server=$!

# Once: a second signal must not cut the open answers short.
# shellcheck disable=SC2329  # the trap calls it
stop() {
  trap '' TERM INT
  python3 "$root/deploy/container/drain.py" "http://127.0.0.1:$port" "$patience" || true
  kill -TERM "$server" 2>/dev/null || true
}
trap stop TERM INT

# The first wait ends with a signal that is trapped, the second with the server.
status=0
wait "$server" || status=$?
if kill -0 "$server" 2>/dev/null; then
  status=0
  wait "$server" || status=$?
fi
exit "$status"
