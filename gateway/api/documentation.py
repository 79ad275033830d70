"""The interactive documentation: Swagger, on the origin that may hold a key.

Of what its CDN serves, only the two files of one release run, and only if they are what they were
when it was chosen.
"""

from __future__ import annotations

import base64
import hashlib

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from gateway.http.security_headers import DOCS_PATH

router = APIRouter(include_in_schema=False)

_RELEASE = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0"
_SCRIPT = f"{_RELEASE}/swagger-ui-bundle.js"
_STYLE = f"{_RELEASE}/swagger-ui.css"
_SCRIPT_HASH = "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9"
_STYLE_HASH = "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I"

_START = (
    'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, '
    "presets: [SwaggerUIBundle.presets.apis]})"
)
_START_HASH = base64.b64encode(hashlib.sha256(_START.encode()).digest()).decode()

_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Persona Triton - Swagger UI</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{_STYLE}" integrity="{_STYLE_HASH}" crossorigin="anonymous">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{_SCRIPT}" integrity="{_SCRIPT_HASH}" crossorigin="anonymous"></script>
<script>{_START}</script>
</body>
</html>
"""

# 'unsafe-inline', since Swagger styles its elements one by one.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; "
    f"script-src {_SCRIPT} 'sha256-{_START_HASH}'; style-src 'unsafe-inline' {_STYLE}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get(DOCS_PATH)
def documentation() -> HTMLResponse:
    """Returns the page that shows `/openapi.json`."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _CONTENT_SECURITY_POLICY})
