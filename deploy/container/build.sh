#!/usr/bin/env bash
# Builds the images on bases that are fixed by digest.
#
#   ./deploy/container/build.sh [registry/prefix] [tag]      -> prefix/persona-triton:tag, ...
#
# CUDA=12 builds for an NVIDIA driver older than 580 (525 or newer).
# TRITON_IMAGE and PYTHON_IMAGE choose other bases. A base without a digest is looked up once and
# written to deploy/container/bases.env, which later builds use: commit it, and everybody builds on
# the same bytes. Remove it to take newer ones.

set -euo pipefail
cd "$(dirname "$0")/../.."

prefix="${1:+$1/}"
tag="${2:-$(git describe --always --dirty)}"
lock=deploy/container/bases.env

default_of() {
  sed -n "s/^ARG $1=//p" Dockerfile.triton
}

with_digest() {
  local image="$1" digest
  if [[ "$image" == *@sha256:* ]]; then
    echo "$image"
    return
  fi
  digest="$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')"
  [[ "$digest" == sha256:* ]] || { echo "error: no digest for $image: $digest" >&2; return 1; }
  echo "$image@$digest"
}

if [ -f "$lock" ]; then
  # shellcheck source=/dev/null
  . "$lock"
fi
triton_image="$(with_digest "${TRITON_IMAGE:-$(default_of TRITON_IMAGE)}")"
python_image="$(with_digest "${PYTHON_IMAGE:-$(default_of PYTHON_IMAGE)}")"
printf 'TRITON_IMAGE=%s\nPYTHON_IMAGE=%s\n' "$triton_image" "$python_image" >"$lock"

for target in triton gateway pod; do
  docker build --file Dockerfile.triton --target "$target" --tag "${prefix}persona-$target:$tag" \
    --build-arg TRITON_IMAGE="$triton_image" --build-arg PYTHON_IMAGE="$python_image" \
    --build-arg CUDA="${CUDA:-13}" \
    --label org.opencontainers.image.revision="$(git rev-parse HEAD)" .
done
