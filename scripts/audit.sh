#!/usr/bin/env bash
# Compares Triton's release and the images' locked Python packages with the known vulnerabilities,
# and fails if there are any, or if one package could not be looked up: without --strict pip-audit
# calls that clean.
#   ./scripts/audit.sh [arguments of pip-audit, such as --vulnerability-service osv]

set -euo pipefail
cd "$(dirname "$0")/.."

status=0
python3 scripts/triton_audit.py || status=1
for lock in deploy/requirements/*.txt; do
  echo "$lock" >&2
  uv tool run --quiet --from pip-audit==2.10.1 pip-audit --strict --disable-pip --require-hashes \
    --requirement "$lock" "$@" || status=1
done
exit "$status"
