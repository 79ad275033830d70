"""vLLM's calls about tokens, for clients that count them without a tokenizer of their own."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, model_validator

from gateway.api.dependencies import GatewayDependency
from gateway.api.ensemble_requests import check_prompt_size
from gateway.api.field_types import Boolean, Text
from gateway.api.openai.fields import Fields
from gateway.api.openai.messages import Message
from gateway.api.openai.model_names import ALIAS, named_traits
from gateway.errors import UnprocessableError, error_of_response
from gateway.http.bodies import BoundedRoute
from gateway.http.error_body import failures
from gateway.settings import Settings
from triton_models.contract.errors import RequestError
from triton_models.contract.prompt import parse_prompt

router = APIRouter(tags=["openai"], route_class=BoundedRoute)

_FAILURES = failures(
    {
        400: "The chat, or a token, is none that the model can read.",
        401: "There is no API key, or it is not valid.",
        404: "The model is not served.",
        413: "The body is too large.",
        422: "The body does not validate.",
        500: "The model failed on this request.",
        503: "The model is away.",
        504: "The model took too long.",
    }
)

_TokenId = Annotated[int, Field(strict=True, ge=0, lt=2**31)]


class TokenizeRequest(Fields):
    """A text, or a chat, to be made tokens of."""

    model: Text = Field(default=ALIAS, description="As for completions.")
    prompt: Text | None = Field(
        default=None, description="A text, taken without the chat template."
    )
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)] | None = Field(
        default=None, description="A chat, in place of `prompt`."
    )
    add_generation_prompt: Boolean | None = Field(
        default=None, description="As for chats; default: true."
    )
    continue_final_message: Boolean | None = Field(default=None, description="As for chats.")
    add_special_tokens: Boolean = Field(
        default=True, description="Makes no difference: a text begins with no special token."
    )

    @model_validator(mode="after")
    def _agrees(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give a prompt or messages, one of the two")
        return self


class DetokenizeRequest(Fields):
    """Tokens to be made a text of."""

    model: Text = Field(default=ALIAS, description="As for completions.")
    tokens: list[_TokenId] = Field(fail_fast=True, description="Token ids.")


@router.post("/tokenize", responses=_FAILURES)
async def tokenize(body: TokenizeRequest, gateway: GatewayDependency) -> dict[str, Any]:
    """Returns the tokens that the model reads for a prompt or a chat."""
    description = await gateway.description.get()
    named_traits(body.model, description)
    values = _inputs(body, gateway.settings)
    tokens = await gateway.triton.ask_one(lambda server: server.tokenize(values))
    return {
        "tokens": tokens,
        "count": len(tokens),
        "max_model_len": description["model_info"]["context_length"],
    }


@router.post("/detokenize", responses=_FAILURES)
async def detokenize(body: DetokenizeRequest, gateway: GatewayDependency) -> dict[str, Any]:
    """Returns the text that tokens stand for, with the names of special tokens."""
    named_traits(body.model, await gateway.description.get())
    if len(body.tokens) > gateway.settings.max_prompt_chars:
        raise UnprocessableError(
            f"tokens has {len(body.tokens)} elements: send at most "
            f"{gateway.settings.max_prompt_chars}"
        )
    text = await gateway.triton.ask_one(lambda server: server.detokenize(body.tokens))
    return {"prompt": text}


@router.get("/tokenizer_info", responses=_FAILURES)
async def tokenizer_info(gateway: GatewayDependency) -> dict[str, Any]:
    """Returns the tokenizer's class, chat template and special tokens, by transformers' names."""
    tokenizer: dict[str, Any] = (await gateway.description.get())["tokenizer"]
    return tokenizer


def _inputs(body: TokenizeRequest, settings: Settings) -> dict[str, list[Any]]:
    """Returns the tokenizer's inputs; raises a `GatewayError` if it would refuse them."""
    messages = None
    inputs: dict[str, list[Any]]
    if body.messages is None:
        length = len(body.prompt or "")
        inputs = {"text_input": [body.prompt], "raw": [True]}
    else:
        length = sum(len(message.content) for message in body.messages)
        messages = [message.model_dump(exclude_none=True) for message in body.messages]
        inputs = {"messages": [json.dumps(messages, ensure_ascii=False)]}
    check_prompt_size(length, settings)
    for name in ("add_generation_prompt", "continue_final_message"):
        if (value := getattr(body, name)) is not None:
            inputs[name] = [value]
    try:
        parse_prompt(inputs, messages)
    except RequestError as error:
        raise error_of_response(error.code.value, error.message) from error
    return inputs
