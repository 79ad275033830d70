"""What the body of an error looks like."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class ErrorResponse(BaseModel):
    """The body of every status from 400 on."""

    success: Literal[False] = False
    error: str = Field(description="What was wrong and what would be right.")
    code: str
    request_id: str
    detail: Any = Field(description="The same sentence, or a list of the fields that are wrong.")
