"""Fields of vLLM's that its clients send as a matter of course, at values that ask for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.api.openai.fields import Refusal

_STOPS = "answers end at an end token, or at a string of stop"
_TEXT = "special tokens have no text"

VLLM_FIELDS: Mapping[str, Refusal] = MappingProxyType(
    {
        "skip_special_tokens": Refusal(_TEXT, (True,)),
        "spaces_between_special_tokens": Refusal(_TEXT, (True, False)),
        "add_special_tokens": Refusal("a prompt is sent as it is", (False,)),
        "chat_template_kwargs": Refusal("the model's chat template takes no options", ({},)),
        "documents": Refusal("the model's chat template takes none", ([],)),
        "use_beam_search": Refusal("answers are sampled", (False,)),
        "length_penalty": Refusal("answers are not ranked", (1,)),
        "stop_token_ids": Refusal(_STOPS, ([],)),
        "include_stop_str_in_output": Refusal(
            "a string of stop is no part of the answer", (False,)
        ),
        "bad_words": Refusal("words cannot be forbidden", ([],)),
        "allowed_token_ids": Refusal("tokens cannot be forbidden", ([],)),
        "priority": Refusal("requests are answered in the order in which they come", (0,)),
        "return_tokens_as_token_ids": Refusal("tokens are returned as text", (False,)),
        "return_token_ids": Refusal("tokens are returned as text", (False,)),
    }
)
