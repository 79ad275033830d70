"""The requests of health checks."""

from __future__ import annotations

from typing import Any

from triton_models.contract import tensors
from triton_models.contract.tensors import TritonType, Values

_PROMPT = "Hello"
_NOTHING: dict[TritonType, list[Any]] = {"INT32": [0], "BYTES": [""]}

ENGINE_QUESTION: Values = {tensors.DESCRIBE.name: [True]}
"""For `steered_qwen`, which answers it without waiting for a row of the batch."""

STEP_QUESTIONS: dict[str, Values] = {
    tensors.TOKENIZER: {tensors.TEXT_INPUT.name: [_PROMPT]},
    tensors.DETOKENIZER: {
        spec.name: _NOTHING[spec.datatype] if spec.length == 1 else []
        for spec in tensors.MODELS[tensors.DETOKENIZER][0]
    },
}
"""For the other steps of the ensemble."""

ONE_TOKEN: Values = {
    tensors.TEXT_INPUT.name: [_PROMPT],
    "raw": [True],
    "max_tokens": [1],
    "temperature": [0.0],
}
"""For the ensemble: generating one token proves what Triton's own readiness does not."""
