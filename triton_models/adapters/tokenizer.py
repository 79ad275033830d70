"""The `tokenizer` model: from a prompt to tokens.

It also validates everything that can be validated without the model: it is the first step of the
ensemble, where an error can still be a plain Triton error.
"""

from __future__ import annotations

import logging
from typing import Any

import triton_python_backend_utils as pb_utils

from triton_models.adapters.tensor_io import (
    build_tensors,
    read_values,
    refuse_parameters,
    triton_error,
)
from triton_models.contract import tensors
from triton_models.contract.errors import RequestError
from triton_models.contract.prompt import prompt_of
from triton_models.contract.prompt_turns import turns_json
from triton_models.contract.request import parse_generation_request
from triton_models.contract.values import boolean
from triton_models.model.folder import find_model
from triton_models.model.tokenizer import load_tokenizer
from triton_models.settings import ServerSettings
from triton_models.text.prompt_encoder import PromptEncoder

logger = logging.getLogger(__name__)


class TokenizerModel:
    """Triton's interface to the tokenizer."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the tokenizer."""
        self._settings = ServerSettings.read()
        tokenizer = load_tokenizer(find_model(self._settings))
        self._encoder = PromptEncoder(tokenizer, self._settings.max_context)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request with its token ids and turns, or an error."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            outputs = self._encode(request)
        except RequestError as error:
            return pb_utils.InferenceResponse(error=triton_error(error))
        except Exception:
            logger.exception("a prompt could not be tokenized")
            failure = RequestError("the prompt could not be tokenized: see the server's log")
            return pb_utils.InferenceResponse(error=triton_error(failure))
        specs = tensors.MODELS[tensors.TOKENIZER][1]
        return pb_utils.InferenceResponse(
            build_tensors(request.requested_output_names(), specs, outputs)
        )

    def _encode(self, request: Any) -> dict[str, Any]:
        refuse_parameters(request, tensors.PERSONA_INPUTS)
        values = read_values(request, tensors.PERSONA_INPUTS)
        parsed = parse_generation_request(values, self._settings.defaults)
        prompt = prompt_of(values)
        ids = self._encoder.encode(prompt)
        reads_turns = parsed.monitor_tokens and boolean(values, "monitor_turns", True)
        turns = self._encoder.turns(prompt) if reads_turns else ()
        return {tensors.INPUT_IDS.name: ids, tensors.PROMPT_TURNS.name: turns_json(turns)}
