#!/usr/bin/env bash
# Builds the images on bases that are fixed by digest.
#
#   ./deploy/container/build.sh [--push] [--sign] [registry/prefix] [tag]   -> prefix/persona-triton:tag, ...
#
#   --push   to the registry, with how each image was built (SLSA provenance) and what is in it, packages
#            of the operating system included (SBOM, SPDX), attached to it
#   --sign   the same, and signs each pushed digest with cosign: by the key in COSIGN_KEY, or without one
#            by the identity that cosign asks for
#
# CUDA=12 builds for an NVIDIA driver older than 580 (525 or newer).
# TRITON_IMAGE and PYTHON_IMAGE choose other bases for one build. Those of Dockerfile.triton that have no
# digest are looked up once and written to deploy/container/bases.env, which later builds use: commit it,
# and everybody builds on the same bytes. Remove it to take newer ones.

set -euo pipefail
cd "$(dirname "$0")/../.."

push=false
sign=false
while [[ "${1:-}" == --* ]]; do
  case "$1" in
    --push) push=true ;;
    --sign) push=true && sign=true ;;
    *) echo "error: $1 is unknown: use --push or --sign" >&2 && exit 1 ;;
  esac
  shift
done
if [ "$push" = true ] && [ -z "${1:-}" ]; then
  echo "error: name the registry to push to: build.sh --push registry.example.com/team 1.0" >&2
  exit 1
fi
if [ "$sign" = true ] && ! command -v cosign >/dev/null; then
  echo "error: --sign takes cosign, which is not installed" >&2
  exit 1
fi

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

# The locked base, unless the Dockerfile has moved to another since.
locked() {
  local default entry=""
  default="$(default_of "$1")"
  if [ -f "$lock" ]; then
    entry="$(sed -n "s/^$1=//p" "$lock")"
  fi
  if [[ "$entry" == "${default%@*}"@* ]] && [[ "$default" != *@* || "$entry" == "$default" ]]; then
    echo "$entry"
  else
    with_digest "$default"
  fi
}

base_of() {
  if [ -n "${!1:-}" ]; then
    with_digest "${!1}"
  else
    locked "$1"
  fi
}

triton_image="$(base_of TRITON_IMAGE)"
python_image="$(base_of PYTHON_IMAGE)"
if [ -z "${TRITON_IMAGE:-}${PYTHON_IMAGE:-}" ]; then
  printf 'TRITON_IMAGE=%s\nPYTHON_IMAGE=%s\n' "$triton_image" "$python_image" >"$lock"
fi

build() {
  docker buildx build --file Dockerfile.triton --target "$1" --tag "$2" \
    --build-arg TRITON_IMAGE="$triton_image" --build-arg PYTHON_IMAGE="$python_image" \
    --build-arg CUDA="${CUDA:-13}" \
    --label org.opencontainers.image.revision="$(git rev-parse HEAD)" "${@:3}" .
}

for target in triton gateway pod; do
  image="${prefix}persona-$target:$tag"
  if [ "$push" = false ]; then
    build "$target" "$image" --load
    continue
  fi
  build "$target" "$image" --push --provenance=mode=max --sbom=true
  if [ "$sign" = true ]; then
    digest="$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')"
    cosign sign --yes ${COSIGN_KEY:+--key "$COSIGN_KEY"} "${prefix}persona-$target@$digest"
  fi
done
