"""The names, types and shapes of all inputs and outputs of the Triton models.

The adapters, the gateway and the clients read them from here, and a test checks each `config.pbtxt`
against them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

TritonType = Literal["BYTES", "BOOL", "INT32", "UINT64", "FP32"]

Values = Mapping[str, Sequence[Any]]
"""The tensors of a request by name, each as a flat sequence of Python values."""

NUMPY_TYPES: dict[TritonType, str] = {
    "BYTES": "object",
    "BOOL": "bool",
    "INT32": "int32",
    "UINT64": "uint64",
    "FP32": "float32",
}
"""The numpy dtype of each element type, by name; elements of `BYTES` are Python bytes."""

ANY = -1
"""The length of a tensor of variable length."""

PERSONA = "persona"
TOKENIZER = "tokenizer"
STEERED_QWEN = "steered_qwen"
DETOKENIZER = "detokenizer"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a Triton model.

    Attributes:
        name: The tensor's name.
        datatype: Triton's name of the element type; `BYTES` is UTF-8 text.
        length: The length of its only dimension, or `ANY`.
        optional: Whether a request may omit it (inputs only).
    """

    name: str
    datatype: TritonType
    length: int
    optional: bool = False


def _optional(name: str, datatype: TritonType, length: int = 1) -> TensorSpec:
    return TensorSpec(name, datatype, length, optional=True)


TEXT_INPUT = _optional("text_input", "BYTES")
"""Optional only because an ensemble of Triton 2.51 answers a request that lacks a required input
with an empty response; the tokenizer says what is missing."""

INPUT_IDS = _optional("input_ids", "INT32", ANY)

PROMPT_TURNS = _optional("prompt_turns", "BYTES")
"""JSON that says where the turns of a chat lie among `input_ids`, for a request with
`monitor_tokens` unless its `monitor_turns` is false, else `""`: `[{"role": "user", "start": 3,
"end": 9}]`, `end` excluded."""

PROMPT_INPUTS = (
    TEXT_INPUT,
    _optional("messages", "BYTES"),
    _optional("system_prompt", "BYTES"),
    _optional("tools", "BYTES"),
    _optional("raw", "BOOL"),
    _optional("parse_special", "BOOL"),
    _optional("add_generation_prompt", "BOOL"),
    _optional("continue_final_message", "BOOL"),
    _optional("prompt_ids", "INT32", ANY),
    _optional("monitor_turns", "BOOL"),
)
"""The prompt, which the tokenizer turns into `input_ids`, and whether its turns are read.

`monitor_turns` is true unless a request with `monitor_tokens` wants the tokens of the answer alone:
then a prompt that is in the KV cache need not be computed again.
"""

STEERING_INPUTS = (
    _optional("trait", "BYTES", ANY),
    _optional("scalar", "FP32", ANY),
    _optional("layers", "INT32", ANY),
    _optional("positions", "BYTES"),
    _optional("steering", "BYTES"),
    _optional("vectors", "BYTES"),
)
"""How to steer: the short form, and in `steering` the JSON of the full one, which comes on top.

`{"traits": [{"name": "sarcasm", "scalar": 1.5, "layers": [15], "positions": "response"}],
"operations": [{"trait": "flattery", "kind": "cap", "value": 90, "unit": "percentile", "strength":
1, "layers": [15]}], "when": {"trait": "sarcasm", "above": 0.5, "unit": "raw", "layer": 12},
"window": {"from": 0, "to": 50, "fade": 10}, "limits": [{"trait": "sarcasm", "above": 99, "unit":
"percentile", "layer": 15, "over": 3, "action": "stop"}]}`: see `contract/steering.py`. Only the
names of traits, their scalars, an operation's `trait`, `kind` and (but for `ablate`) `value`, and a
condition's and a limit's `trait` with one of `above` and `below` are needed. What a policy enforces
is there as well, `"enforced": {"operations": [...], "limits": [...]}`: it comes after the rest, and
whatever the rest says.

`vectors` is the JSON of vectors that are traits for this request alone, `{"mine": {"layers": {"15":
"<base64>"}, "dtype": "float32"}}`: see `contract/request_vectors.py`.
"""

GENERATION_INPUTS = (
    _optional("max_tokens", "INT32"),
    _optional("min_tokens", "INT32"),
    _optional("ignore_eos", "BOOL"),
    _optional("temperature", "FP32"),
    _optional("top_p", "FP32"),
    _optional("top_k", "INT32"),
    _optional("min_p", "FP32"),
    _optional("repetition_penalty", "FP32"),
    _optional("frequency_penalty", "FP32"),
    _optional("presence_penalty", "FP32"),
    _optional("logit_bias", "BYTES"),
    _optional("seed", "UINT64"),
    _optional("stop_words", "BYTES", ANY),
    _optional("stream", "BOOL"),
    _optional("exclude_input_in_output", "BOOL"),
    _optional("sampling_parameters", "BYTES"),
    _optional("logprobs", "INT32"),
    _optional("monitor", "BYTES", ANY),
    _optional("format", "BYTES"),
    _optional("prompt_logprobs", "INT32"),
    _optional("monitor_tokens", "BOOL"),
    _optional("monitor_layers", "INT32", ANY),
)

REQUEST_INPUTS = STEERING_INPUTS + GENERATION_INPUTS
"""Inputs of `persona`, of `tokenizer`, which validates them, and of `steered_qwen`."""

STOP = _optional("stop", "BOOL")
"""On `steered_qwen`: cancel all running and waiting requests with this request's id."""

DESCRIBE = _optional("describe", "BOOL")
"""On `steered_qwen`: answer with `description` instead of generating."""

PERSONA_INPUTS = PROMPT_INPUTS + REQUEST_INPUTS
STEERED_QWEN_INPUTS = (INPUT_IDS, PROMPT_TURNS, *REQUEST_INPUTS, STOP, DESCRIBE)

FINISH_REASON = TensorSpec("finish_reason", "BYTES", 1)
"""`""` until the last chunk, then `stop`, `length`, `trait_limit`, `cancelled` or `error`."""

STATUS_OUTPUTS = (
    FINISH_REASON,
    TensorSpec("num_input_tokens", "INT32", 1),
    TensorSpec("num_output_tokens", "INT32", 1),
    TensorSpec("num_reused_tokens", "INT32", 1),
    TensorSpec("readouts", "BYTES", 1),
    TensorSpec("report", "BYTES", 1),
    TensorSpec("warnings", "BYTES", 1),
    TensorSpec("timings", "BYTES", 1),
    TensorSpec("error", "BYTES", 1),
    TensorSpec("error_code", "BYTES", 1),
)
"""The status of a request, which the detokenizer passes on unchanged.

`num_reused_tokens` is the number of prompt tokens that were copied from the KV cache. The others
are set on the last chunk only, but for a part of `report`, else `""`: `readouts`, for a request
with `monitor`, a JSON object with the mean projection at each block for each trait, `{"sarcasm":
{"15": 1.25}}`; `report`, if there is more to say about the answer, a JSON object; `warnings`, if
there are any about the steering, a JSON array of sentences; `timings`, if the engine accepted the
request, a JSON object with the seconds of each phase that it reached, `{"queue": 0.001, "prefill":
0.02, "decode": 0.5}`.

In `report` are, for monitored traits whose vector is calibrated for the loaded model, what their
readouts say, `{"calibrated_readouts": {"sarcasm": {"15": {"percentile": 97.5, "pole": 0.9}}}}`; if
the steering has `when`, at how many generated tokens it was looked at and how many met it,
`{"condition": {"tokens": 40, "met": 12}}`; `limits_reached`, each as in `steering`, with its layer,
whether it was `enforced`, its `bound` as a projection, and the `projection` and the number from 0
of the `token` at which it was reached; and what was `enforced`, as in `steering`.

For a request with `monitor_tokens`, the `report` of the first chunk has the means of each turn of a
chat, `{"turn_readouts": [{"role": "user", "readouts": {"sarcasm": {"15": 0.25}}}]}`, and that of
every chunk what was read at each of its tokens, `{"token_readouts": [{"token": " Oh", "readouts":
{"sarcasm": {"15": {"before": 0.5, "after": 2.5, "percentile": 99.5}}}}]}`: the projections before
and after steering, and if the vector is calibrated the percentile of the latter among neutral
answers' tokens. At a token whose hidden state was not computed, such as the last one, nothing was
read: `{"sarcasm": {}}`. It is one tensor for all that few answers have, since each tensor costs
time for every token.
"""

CHUNK_OUTPUTS = (
    TensorSpec("output_ids", "INT32", ANY),
    TensorSpec("output_bytes", "INT32", 1),
    TensorSpec("echo_ids", "INT32", ANY),
    TensorSpec("output_logprobs", "FP32", ANY),
    TensorSpec("top_ids", "INT32", ANY),
    TensorSpec("top_logprobs", "FP32", ANY),
    TensorSpec("prompt_scores", "BYTES", 1),
)
"""A chunk of the answer as tokens.

`output_ids` are the tokens released by this chunk: together they are whole UTF-8 characters, except
in the last chunk of an answer that was cut inside one. `output_bytes` is the number of bytes of
their text that belong to the answer: all, except in a last chunk that a stop string cuts inside a
token. `echo_ids` are the prompt's tokens, on the first chunk of a request with
`exclude_input_in_output` false, else empty. For a request with `logprobs`, `output_logprobs` has
the natural logarithm of each token's probability; `top_ids` and `top_logprobs` have the same number
of most likely tokens for each token, one after the other. `prompt_scores`, on the first chunk of a
request with `prompt_logprobs`, else `""`, is a JSON array of `[id, logprob, rank, [[id, logprob]]]`
for each token of the prompt: its own, then those of the most likely tokens at its place; the first
token has `null` and 0.
"""

DESCRIPTION = TensorSpec("description", "BYTES", 1)
"""JSON that describes the model, its traits and the engine, in the answer to `describe`."""

TEXT_OUTPUT = TensorSpec("text_output", "BYTES", 1)
"""The new text of this chunk, or all of it when the request does not stream."""

LOGPROBS = TensorSpec("token_logprobs", "BYTES", 1)
"""JSON with the log-probabilities of this chunk's tokens, for a request with `logprobs`, else `""`.

As in OpenAI's API: an array of `{"token": "...", "bytes": [...], "logprob": -0.1, "top_logprobs":
[{"token": "...", "bytes": [...], "logprob": -0.1}]}`. It cannot be called `logprobs` like the
input, because all tensors of an ensemble share one namespace.
"""

PROMPT_LOGPROBS = TensorSpec("prompt_token_logprobs", "BYTES", 1)
"""JSON with the log-probabilities of the prompt's tokens, on the first chunk of a request with
`prompt_logprobs`, else `""`.

An array of objects as in `LOGPROBS`, which have also the `id` of each token, and the `rank` of the
prompt's: 1 if it was the most likely. Nothing precedes the first token: its `logprob` and `rank`
are `null`.
"""

STEERED_QWEN_OUTPUTS = CHUNK_OUTPUTS + STATUS_OUTPUTS + (DESCRIPTION,)
PERSONA_OUTPUTS = (TEXT_OUTPUT, LOGPROBS, PROMPT_LOGPROBS, *STATUS_OUTPUTS)

MODELS: dict[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]] = {
    PERSONA: (PERSONA_INPUTS, PERSONA_OUTPUTS),
    TOKENIZER: (PERSONA_INPUTS, (INPUT_IDS, PROMPT_TURNS)),
    STEERED_QWEN: (STEERED_QWEN_INPUTS, STEERED_QWEN_OUTPUTS),
    DETOKENIZER: (CHUNK_OUTPUTS + STATUS_OUTPUTS, PERSONA_OUTPUTS),
}
