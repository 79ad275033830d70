#!/usr/bin/env bash
# Writes deploy/requirements/*.txt: what the images install, with the hash of every file.
# Run it after a pin in pyproject.toml has changed; a test says when that was forgotten.

. "$(dirname "$0")/environment.sh" "server,local-triton,gateway,dev"
cd "$ROOT"

lock() {
  local name="$1" python="$2"
  shift 2
  # No local configuration: the hashes have to be those of the public index's files.
  env -u PIP_FIND_LINKS -u UV_FIND_LINKS uv pip compile pyproject.toml "$@" \
    --no-config --quiet --generate-hashes --no-emit-package persona-triton \
    --python-version "$python" --python-platform x86_64-manylinux_2_31 --only-binary :all: \
    --custom-compile-command ./scripts/lock_requirements.sh \
    --output-file "deploy/requirements/$name.txt"
}

# Triton 26.11's image has Python 3.12. The public index's PyTorch brings CUDA 13, which takes an
# NVIDIA driver of 580 or newer; the last there with CUDA 12 is 2.10, which takes one of 525.
older="$(mktemp)"
trap 'rm -f "$older"' EXIT
echo torch==2.10.0 >"$older"
for cuda in 12 13; do
  overrides=()
  [ "$cuda" = 13 ] || overrides=(--overrides "$older")
  lock "triton-cuda$cuda" 3.12 --extra server --extra triton-client "${overrides[@]}"
  lock "pod-cuda$cuda" 3.12 --extra server --extra gateway --extra telemetry "${overrides[@]}"
done
lock gateway 3.11 --extra gateway --extra telemetry
