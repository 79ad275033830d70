"""The gateway's metrics for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from gateway.api.dependencies import GatewayDependency
from gateway.http.error_body import ErrorResponse
from gateway.observability.metrics import CONTENT_TYPE, METRICS_PATH

router = APIRouter(tags=["service"])


# Not a coroutine: with several workers it reads files, which must not hold up the streams.
@router.get(
    METRICS_PATH,
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}},
        401: {"model": ErrorResponse, "description": "The API key is missing, or is not valid."},
    },
)
def metrics(gateway: GatewayDependency) -> Response:
    """Gives what the gateway has counted and timed; it does not ask Triton."""
    return Response(gateway.metrics.exposition(), media_type=CONTENT_TYPE)
