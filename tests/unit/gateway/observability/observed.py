"""What observers are shown: requests and their generations, without a Triton."""

from __future__ import annotations

from typing import Any

from gateway.ensemble_request import EnsembleRequest, ensemble_request
from gateway.generation.observed_generation import ObservedGeneration
from gateway.request_record import Observer, RequestRecord
from triton_models.contract.request import GenerationDefaults
from triton_models.contract.tensors import Values

SECRET = "a secret prompt"


def watch(*observers: Observer, request: RequestRecord | None = None, **values: Any) -> Any:
    inputs = {"text_input": [SECRET], "max_tokens": [9], **values}
    return ObservedGeneration("an-id", asked(inputs), request, observers)


def asked(inputs: Values) -> EnsembleRequest:
    return ensemble_request({"text_input": ["hi"], **inputs}, None, GenerationDefaults())


def record(path: str = "/api/v1/generate", **scope: Any) -> RequestRecord:
    return RequestRecord("mine", {"type": "http", "method": "POST", "path": path, **scope})
