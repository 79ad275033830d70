"""Steered generation, as a Triton client can rely on it, over gRPC from the real server."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from transformers import AutoTokenizer, Qwen2ForCausalLM

from launcher.stack import Stack
from tests.e2e.demo import TRAITS, deltas_of
from tests.e2e.held_engine import held_engine, num_open, num_taken, pieces_of
from tests.e2e.triton_call import Call, call, describe
from tests.e2e.triton_inputs import GREEDY, ONCE, PROMPT, STREAMED
from tests.e2e.waiting import eventually
from tests.integration.reference import agree, generate_alone
from triton_models.settings import DEMO_MODEL_FOLDER
from triton_models.vectors.persona_vector import PersonaVector

STREAMED_GREEDY: dict[str, Any] = {**GREEDY, **STREAMED}


def test_a_request_gets_one_response_with_text_and_counts(address: str) -> None:
    (response,) = call(address, **GREEDY)
    assert response["text_output"]
    assert response["finish_reason"] in ("stop", "length")
    assert response["num_input_tokens"] > 5
    assert 0 < response["num_output_tokens"] <= 200
    assert (response["error"], response["error_code"]) == ("", "")


def test_a_stream_s_chunks_join_to_the_text_of_one_response(stack: Stack, address: str) -> None:
    (whole,) = call(address, **GREEDY)
    chunks = pieces_of(stack.triton, lambda: Call(address, "persona", STREAMED_GREEDY).responses())
    assert len(chunks) > 1
    assert "".join(chunk["text_output"] for chunk in chunks) == whole["text_output"]
    assert [chunk["finish_reason"] for chunk in chunks[:-1]] == [""] * (len(chunks) - 1)
    assert chunks[-1]["finish_reason"] == whole["finish_reason"]


def test_steering_turns_the_text_and_scalar_zero_leaves_it(address: str) -> None:
    texts = {
        scalar: call(address, **GREEDY, trait="sarcasm", scalar=scalar)[0]["text_output"]
        for scalar in (-2.0, 0.0, 2.0)
    }
    assert len(set(texts.values())) == 3
    assert texts[0.0] == call(address, **GREEDY)[0]["text_output"]


def test_requests_of_a_mixed_batch_give_the_tokens_they_give_alone(
    stack: Stack, address: str, vectors: dict[str, PersonaVector], plain_model: Qwen2ForCausalLM
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL_FOLDER)
    generator = random.Random(5)
    ends = plain_model.generation_config.eos_token_id  # several: the last token may be any of them

    def case() -> dict[str, Any]:
        traits = generator.sample(TRAITS, generator.choice([0, 1, 1, 2]))
        text = " ".join(generator.choices(["tea", "why", "is", "a", "garden", "how"], k=9))
        return {
            "ids": tokenizer(text)["input_ids"],
            "traits": {trait: generator.choice([-1.5, -0.5, 0.5, 1.0]) for trait in traits},
            "positions": generator.choice(["all", "prompt", "response"]),
        }

    def through_triton(case: dict[str, Any]) -> list[int]:
        steering = (
            {"trait": list(case["traits"]), "scalar": list(case["traits"].values())}
            if case["traits"]
            else {}
        )
        responses = call(
            address,
            "steered_qwen",
            input_ids=case["ids"],
            max_tokens=40,
            temperature=0.0,
            stream=True,
            positions=case["positions"],
            **steering,
        )
        return [token for response in responses for token in response["output_ids"]]

    def is_as_alone(case: dict[str, Any], answer: list[int]) -> bool:
        ids, positions = case["ids"], case["positions"]
        deltas = deltas_of(vectors, case["traits"])
        tokens = generate_alone(plain_model, ids, 40, deltas, positions)
        tokens = tokens[:-1] if tokens[-1] in ends else tokens
        return agree(plain_model, ids, tokens, answer, deltas, positions)

    cases = [case() for _ in range(24)]
    before = num_taken(address)
    with ThreadPoolExecutor(len(cases)) as pool:
        with held_engine(stack.triton) as engine:
            answers = []
            for number, each in enumerate(cases, 1):
                answers.append(pool.submit(through_triton, each))
                assert eventually(lambda number=number: num_taken(address) == before + number)  # type: ignore[misc]
                # Each joins while those before it are at different places of their answers.
                engine.steps(generator.randrange(3))
        tokens = [answer.result() for answer in answers]
    for each, answer in zip(cases, tokens, strict=True):
        assert is_as_alone(each, answer), each


def test_the_same_seed_gives_the_same_text_whatever_else_runs(stack: Stack, address: str) -> None:
    sampled: dict[str, Any] = {"text_input": PROMPT, "temperature": 1.0, "seed": 2**63 + 5}
    (alone,) = call(address, **sampled)
    with ThreadPoolExecutor(8) as pool:
        with held_engine(stack.triton):
            others = [pool.submit(call, address, text_input=PROMPT) for _ in range(7)]
            among_them = pool.submit(call, address, **sampled)
            assert eventually(lambda: num_open(address) == 8)
        (together,) = among_them.result()
        for other in others:
            other.result()
    assert together["text_output"] == alone["text_output"]
    assert call(address, **{**sampled, "seed": 6})[0]["text_output"] != alone["text_output"]


def test_stop_words_end_the_text_and_are_not_in_it(address: str) -> None:
    (whole,) = call(address, **GREEDY)
    text = whole["text_output"]
    word = text[len(text) // 2 : len(text) // 2 + 4]
    for options in (ONCE, STREAMED):
        chunks = call(address, **GREEDY, stop_words=[word, "never there"], **options)
        answer = "".join(chunk["text_output"] for chunk in chunks)
        assert answer == text[: text.index(word)]
        assert chunks[-1]["finish_reason"] == "stop"


def test_min_tokens_holds_back_the_end_and_max_tokens_cuts(address: str) -> None:
    (response,) = call(address, **GREEDY, max_tokens=150, min_tokens=150)
    assert (response["num_output_tokens"], response["finish_reason"]) == (150, "length")


def test_raw_text_messages_and_system_prompts_are_honoured(address: str) -> None:
    chat = json.dumps([{"role": "user", "content": PROMPT}])
    (plain,) = call(address, **GREEDY)
    (messages,) = call(address, text_input="", messages=chat, temperature=0.0)
    (without_text,) = call(address, messages=chat, temperature=0.0)
    assert without_text["text_output"] == messages["text_output"]
    assert without_text["num_input_tokens"] == messages["num_input_tokens"]
    (system,) = call(address, **GREEDY, system_prompt="You are a very sarcastic assistant.")
    (raw,) = call(address, **GREEDY, raw=True)
    assert messages["text_output"] == plain["text_output"]
    assert system["num_input_tokens"] != plain["num_input_tokens"]
    assert raw["num_input_tokens"] < plain["num_input_tokens"]


def test_the_prompt_can_be_part_of_the_text(address: str) -> None:
    (plain,) = call(address, **GREEDY)
    for options in (ONCE, STREAMED):
        chunks = call(address, **GREEDY, exclude_input_in_output=False, **options)
        text = "".join(chunk["text_output"] for chunk in chunks)
        assert PROMPT in text
        assert text.endswith("<|im_start|>assistant\n" + plain["text_output"])


def test_only_the_outputs_asked_for_are_sent_also_under_load(address: str) -> None:
    def ask(_: int) -> list[dict[str, Any]]:
        request = Call(
            address, "persona", {**GREEDY, "max_tokens": 20, "stream": True}, "", ["text_output"]
        )
        return list(request.responses())

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(40)))
    assert {tuple(response) for answer in answers for response in answer} == {("text_output",)}
    assert len({"".join(r["text_output"] for r in answer) for answer in answers}) == 1


def test_a_description_names_the_model_and_its_traits(address: str) -> None:
    description = describe(address)
    assert description["model"] == "persona-demo"
    assert tuple(description["traits"]) == TRAITS
    assert description["problems"] == []
    assert description["engine"]["alive"]
