"""The `detokenizer` model: from a chunk's tokens to its text.

It is stateless: `steered_qwen` releases tokens only in runs of whole UTF-8 characters, and says
where a stop string cuts the last one.
"""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from triton_models.adapters.tensor_io import build_tensors, read_values
from triton_models.contract import tensors
from triton_models.model.folder import find_model
from triton_models.model.tokenizer import load_tokenizer
from triton_models.settings import ServerSettings
from triton_models.text.logprobs import logprobs_json, prompt_logprobs_json
from triton_models.text.token_bytes import TokenBytes


class DetokenizerModel:
    """Triton's interface to the detokenizer."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the tokenizer."""
        self._token_bytes = TokenBytes(load_tokenizer(find_model(ServerSettings.read())))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each chunk with its text, its log-probabilities, and the engine's status."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        values = read_values(request, tensors.CHUNK_OUTPUTS + tensors.STATUS_OUTPUTS)
        answer = self._token_bytes.join(values["output_ids"])[: values["output_bytes"][0]]
        echo = self._token_bytes.join_with_special(values["echo_ids"])
        text = echo.decode("utf-8", "replace") + answer.decode("utf-8", "replace")
        logprobs = logprobs_json(
            self._token_bytes,
            values["output_ids"],
            values["output_logprobs"],
            values["top_ids"],
            values["top_logprobs"],
        )
        outputs = {
            tensors.TEXT_OUTPUT.name: text,
            tensors.LOGPROBS.name: logprobs,
            tensors.PROMPT_LOGPROBS.name: prompt_logprobs_json(
                self._token_bytes, values["prompt_scores"][0]
            ),
        }
        status = {spec.name: values[spec.name][0] for spec in tensors.STATUS_OUTPUTS}
        return pb_utils.InferenceResponse(
            build_tensors(
                request.requested_output_names(),
                tensors.PERSONA_OUTPUTS,
                outputs | status,
            )
        )
