"""What the body of an error looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field


class ErrorResponse(BaseModel):
    """The body of every status from 400 on."""

    success: Literal[False] = False
    error: str = Field(description="What was wrong and what would be right.")
    code: str
    request_id: str
    detail: Any = Field(description="The same sentence, or a list of the fields that are wrong.")


def failures(descriptions: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """Returns what the documentation says about a call's errors, by status."""
    return {
        status: {"model": ErrorResponse, "description": description}
        for status, description in descriptions.items()
    }


NO_KEY = failures({401: "The API key is missing, or is not valid."})
