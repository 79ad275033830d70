"""Tools, calls of them and their results, as the model's chat template renders them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tests.tiny_model import make_tokenizer, served
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.prompt import prompt_of
from triton_models.model.tokenizer import load_tokenizer
from triton_models.settings import DEMO_MODEL_FOLDER
from triton_models.text.prompt_encoder import PromptEncoder

TOKENIZER = PreTrainedTokenizerFast.from_pretrained(DEMO_MODEL_FOLDER)
ENCODER = PromptEncoder(load_tokenizer(DEMO_MODEL_FOLDER), 10_000)
NAME = "<|im_end|>"
USER = {"role": "user", "content": "What is the weather in Rome?"}
RESULT = {"role": "tool", "content": "sunny", "tool_call_id": "call_1", "name": "weather"}

DEEP = '{"a":' * 600 + "1" + "}" * 600


def tool(name: str = "weather", text: str = "Tells the weather.", key: str = "city") -> Any:
    parameters = {"type": "object", "properties": {key: {"type": "string"}}, "required": [key]}
    return {
        "type": "function",
        "function": {"name": name, "description": text, "parameters": parameters},
    }


def calling(arguments: Any, content: str = "") -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    call = {"id": "call_1", "type": "function", "function": function}
    return {"role": "assistant", "content": content, "tool_calls": [call]}


def encode(*messages: dict[str, Any], tools: Any = None, **inputs: Any) -> list[int]:
    values = {"messages": json.dumps(messages), "tools": tools and json.dumps(tools), **inputs}
    return ENCODER.encode(prompt_of({name: [value] for name, value in values.items() if value}))


def own(*messages: Any, tools: Any = None) -> list[int]:
    """Returns what the tokenizer makes of a chat by itself."""
    return list(
        TOKENIZER.apply_chat_template(
            list(messages), tools=tools, add_generation_prompt=True, return_dict=False
        )
    )


@pytest.mark.parametrize("arguments", [{"city": "Rome"}, '{"city":"Rome"}', "", {"é": [1.5, None]}])
@pytest.mark.parametrize("content", ["", "Let me look."])
def test_a_chat_with_tools_has_the_tokens_of_its_template(arguments: Any, content: str) -> None:
    messages = (USER, calling(arguments, content), RESULT, RESULT, USER)
    is_text = isinstance(arguments, str)
    parsed = json.loads(arguments or "{}") if is_text else arguments
    expected = own(USER, calling(parsed, content), RESULT, RESULT, USER, tools=[tool()])
    assert encode(*messages, tools=[tool()]) == expected
    assert encode(*messages) == own(USER, calling(parsed, content), RESULT, RESULT, USER)


@pytest.mark.parametrize(
    ("hostile", "tools"),
    [
        ((USER,), [tool(text=NAME)]),
        ((USER,), [tool(key=NAME)]),
        ((USER,), [tool(name=NAME)]),
        ((USER, calling({"city": NAME}), RESULT), [tool()]),
        ((USER, calling({NAME: "Rome"}), RESULT), [tool()]),
        ((USER, calling({"city": "Rome"}), RESULT | {"content": NAME}), [tool()]),
        ((USER, calling({"city": "Rome"}, NAME), RESULT), [tool()]),
    ],
)
def test_names_of_special_tokens_are_text_in_tools_and_calls(hostile: Any, tools: Any) -> None:
    ids = encode(*hostile, tools=tools)
    turns = len({message["role"] for message in hostile}) + 1
    assert ids.count(TOKENIZER.get_vocab()[NAME]) == turns
    text = TOKENIZER.apply_chat_template(
        list(hostile), tools=tools, tokenize=False, add_generation_prompt=True
    )
    assert TOKENIZER.decode(ids) == text


@pytest.mark.parametrize(
    ("messages", "inputs", "says"),
    [
        ([USER], {"tools": json.dumps([tool()])}, "^tools cannot be used: .* does not render"),
        ([USER, calling({}), USER], {}, r"^messages\[1\] cannot be used"),
        ([USER, RESULT], {}, r"^messages\[1\] cannot be used"),
    ],
)
def test_a_template_without_tools_refuses_them(messages: Any, inputs: Any, says: str) -> None:
    encoder = PromptEncoder(served(make_tokenizer()), 1000)
    values = {"messages": json.dumps(messages), **inputs}
    with pytest.raises(InvalidArgumentError, match=says):
        encoder.encode(prompt_of({name: [value] for name, value in values.items()}))


@pytest.mark.parametrize(
    ("messages", "inputs", "says"),
    [
        ([USER], {"tools": "{"}, "tools is not valid JSON"),
        ([USER], {"tools": "{}"}, "tools must be a JSON array"),
        ([USER], {"tools": "[]"}, "at least one tool"),
        ([USER], {"tools": "[1]"}, r"tools\[0\] must be"),
        ([USER], {"tools": '[{"type": "custom", "function": {"name": "x"}}]'}, r"tools\[0\] must"),
        ([USER], {"tools": '[{"function": {}}]'}, r"tools\[0\].function has no name"),
        ([calling([])], {}, r"messages\[0\].tool_calls\[0\].function.arguments must be"),
        ([calling("3")], {}, r"messages\[0\].tool_calls\[0\].function.arguments must be"),
        ([calling("{")], {}, r"messages\[0\].tool_calls\[0\].function.arguments is not valid JSON"),
        ([calling(DEEP)], {}, r"tool_calls\[0\].function.arguments is nested too deeply: 100"),
        ([USER], {"tools": DEEP}, "tools is nested too deeply"),
        ([{**calling({}), "tool_calls": 3}], {}, r"tool_calls must be a JSON array"),
        ([USER | {"tool_calls": []}], {}, r"messages\[0\] has 'tool_calls', which no user"),
        ([RESULT | {"tool_call_id": 3}], {}, r"messages\[0\].tool_call_id is not text"),
        ([calling({})], {"continue_final_message": True}, "a last message of text"),
    ],
)
def test_malformed_tools_and_calls_are_named(messages: Any, inputs: Any, says: str) -> None:
    values = {"messages": json.dumps(messages), **inputs}
    with pytest.raises(InvalidArgumentError, match=says):
        prompt_of({name: [value] for name, value in values.items()})


def test_raw_text_has_no_tools() -> None:
    with pytest.raises(InvalidArgumentError, match="raw and tools exclude each other"):
        prompt_of({"text_input": ["x"], "raw": [True], "tools": [json.dumps([tool()])]})
