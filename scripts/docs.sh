#!/usr/bin/env bash
# Shows the documentation as a site on http://127.0.0.1:8005 until Ctrl-C; pages follow their files.
# ./scripts/docs.sh build  checks all links and leaves the site in build/site.

. "$(dirname "$0")/environment.sh" "docs"
exec python "$ROOT/scripts/docs_site.py" "$@"
