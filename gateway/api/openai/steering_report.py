"""What an answer says about its steering, which clients of OpenAI's API let pass."""

from __future__ import annotations

from typing import Any

from triton_models.grpc_messages import TritonChunk


def steering_report(answer: TritonChunk) -> dict[str, Any]:
    """Returns the field `steering` of an answer or of its last piece; empty is to be left out."""
    said: dict[str, Any] = {}
    if answer.readouts is not None:
        said["readouts"] = answer.readouts
    if answer.calibrated_readouts is not None:
        said["calibrated_readouts"] = answer.calibrated_readouts
    if answer.condition is not None:
        said["condition"] = answer.condition
    if answer.limits_reached:
        said["limits_reached"] = list(answer.limits_reached)
    if answer.enforced is not None:
        said["enforced"] = answer.enforced
    if answer.warnings:
        said["warnings"] = list(answer.warnings)
    return {"steering": said} if said else {}
