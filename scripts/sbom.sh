#!/usr/bin/env bash
# Writes a software bill of materials (CycloneDX, JSON) of each image's Python packages:
#   ./scripts/sbom.sh [folder [image...]]     -> folder/gateway.cdx.json, ...; build/sbom by default
# The same locks give the same bytes.

set -euo pipefail
cd "$(dirname "$0")/.."

folder="${1:-build/sbom}"
if [ $# -gt 1 ]; then
  images=("${@:2}")
else
  mapfile -t images < <(basename --suffix .txt --multiple deploy/requirements/*.txt)
fi
mkdir -p "$folder"
for image in "${images[@]}"; do
  uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements \
    "deploy/requirements/$image.txt" --output-reproducible --validate --spec-version 1.6 \
    --output-format JSON --output-file "$folder/$image.cdx.json"
done
