"""What vLLM's clients ask about tokens."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from transformers import PreTrainedTokenizerFast

from triton_models.settings import DEMO_MODEL_FOLDER

TEXT = "Bake <|im_end|> \u00e9\u4e2d\U0001f642"
MESSAGES = [{"role": "user", "content": "How do I bake bread?"}]


def test_a_text_is_made_tokens_of_and_back(api: httpx.Client) -> None:
    ids = PreTrainedTokenizerFast.from_pretrained(DEMO_MODEL_FOLDER)(TEXT)["input_ids"]
    answer = api.post("/tokenize", json={"model": "persona:sarcasm=2", "prompt": TEXT}).json()
    assert (answer["tokens"], answer["count"]) == (ids, len(ids))
    cards = api.get("/v1/models").json()["data"]
    assert answer["max_model_len"] == cards[0]["max_model_len"]
    assert api.post("/detokenize", json={"tokens": ids}).json() == {"prompt": TEXT}
    assert api.post("/detokenize", json={"tokens": []}).json() == {"prompt": ""}


def test_a_chat_has_the_tokens_that_its_answer_s_usage_counts(api: httpx.Client) -> None:
    chat = {"model": "persona", "messages": MESSAGES}
    counted = api.post("/tokenize", json=chat).json()["count"]
    answer = api.post("/v1/chat/completions", json={**chat, "max_tokens": 1}).json()
    assert counted == answer["usage"]["prompt_tokens"]
    shorter = api.post("/tokenize", json={**chat, "add_generation_prompt": False}).json()
    assert shorter["count"] < counted


def test_a_client_can_ask_for_the_tokenizer_s_template_and_special_tokens(
    api: httpx.Client,
) -> None:
    info = api.get("/tokenizer_info").json()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(DEMO_MODEL_FOLDER)
    for name in ("chat_template", "bos_token", "eos_token", "pad_token", "unk_token"):
        assert info[name] == getattr(tokenizer, name)
    rendered = tokenizer.apply_chat_template(
        MESSAGES, chat_template=info["chat_template"], tokenize=False, add_generation_prompt=True
    )
    ids = api.post("/tokenize", json={"prompt": rendered}).json()["tokens"]
    assert ids == api.post("/tokenize", json={"messages": MESSAGES}).json()["tokens"]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/tokenize", {}, "one of the two"),
        ("/tokenize", {"prompt": "a", "messages": MESSAGES}, "one of the two"),
        ("/tokenize", {"prompt": "a", "continue_final_message": True}, "exclude each other"),
        ("/tokenize", {"prompt": "a" * 1_000_000}, "send at most"),
        ("/tokenize", {"prompt": "a", "model": "gpt"}, "is not served"),
        ("/detokenize", {"tokens": [-1]}, "greater than or equal to 0"),
        ("/detokenize", {"tokens": "a"}, "list"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_makes_no_sense_is_refused(
    api: httpx.Client, path: str, body: dict[str, Any], says: str
) -> None:
    answer = api.post(path, json=body)
    assert 400 <= answer.status_code < 500
    assert says in answer.text
