"""lm-evaluation-harness, unmodified, over the API; skipped where it is not installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from launcher.stack import Stack
from persona_research.capability.harness import read_harness
from tests.e2e.demo import deltas_of
from tests.integration.reference import steered
from triton_models.settings import DEMO_MODEL_FOLDER
from triton_models.vectors.persona_vector import PersonaVector

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm_eval is not installed"
)

DOCUMENTS: list[dict[str, Any]] = [
    {"question": "How do I bake bread?", "choices": [" Mix flour.", " Oh, please."], "answer": 0},
    {
        "question": "Tell me about tea.",
        "choices": [" It is hot.", " What a question!"],
        "answer": 0,
    },
]
CHOICE = """
task: persona_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""
GENERATION = """
task: persona_generation
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: generate_until
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[0]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 12}}
metric_list: [{{metric: exact_match}}]
"""


def evaluate(folder: Path, kind: str, arguments: str, task: str, *more: str) -> list[Any]:
    """Runs a task, and returns what the harness noted about each document."""
    data = folder / "documents.jsonl"
    data.write_text("".join(json.dumps(each) + "\n" for each in DOCUMENTS))
    (folder / "choice.yaml").write_text(CHOICE.format(data=data))
    (folder / "generation.yaml").write_text(GENERATION.format(data=data))
    command = [sys.executable, "-m", "lm_eval", "--model", kind, "--model_args", arguments]
    command += ["--tasks", task, "--include_path", str(folder), "--log_samples"]
    command += ["--output_path", str(folder / "out"), *more]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    (samples,) = (folder / "out").rglob("samples_*.jsonl")
    return [json.loads(line) for line in samples.read_text().splitlines()]


@pytest.mark.parametrize("scalar", [0.0, 2.0])
def test_a_choice_by_likelihood_is_transformers_own(
    stack: Stack,
    plain_model: Qwen2ForCausalLM,
    vectors: dict[str, PersonaVector],
    tmp_path: Path,
    scalar: float,
) -> None:
    url = f"{stack.settings.gateway_url}/v1/completions"
    model = f"persona:sarcasm={scalar:g}" if scalar else "persona"
    arguments = f"base_url={url},model={model},tokenizer_backend=huggingface"
    arguments += f",tokenizer={DEMO_MODEL_FOLDER}"
    samples = evaluate(tmp_path, "local-completions", arguments, "persona_choice")
    if scalar:
        # What it writes is what is read for plots.
        (point,) = read_harness(tmp_path / "out")
        assert (point.task, point.measure, point.items) == ("persona_choice", "acc", len(DOCUMENTS))
        assert (point.trait, point.scalar) == ("sarcasm", scalar)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(DEMO_MODEL_FOLDER)
    assert len(samples) == len(DOCUMENTS)
    for sample in samples:
        document = sample["doc"]
        for choice, (got, is_greedy) in zip(
            document["choices"], sample["filtered_resps"], strict=True
        ):
            start = len(tokenizer(document["question"])["input_ids"])
            ids = tokenizer(document["question"] + choice)["input_ids"]
            with (
                torch.no_grad(),
                steered(plain_model, len(ids), deltas_of(vectors, {"sarcasm": scalar})),
            ):
                likely = plain_model(torch.tensor([ids])).logits[0].log_softmax(-1)
            targets = torch.tensor(ids[start:])
            places = likely[start - 1 : -1]
            total = float(places.gather(1, targets[:, None]).sum())
            assert float(got) == pytest.approx(total, abs=1e-4)
            assert (str(is_greedy) == "True") == bool((places.argmax(-1) == targets).all())


def test_its_remote_tokenizer_is_the_servers(stack: Stack, tmp_path: Path) -> None:
    url = f"{stack.settings.gateway_url}/v1/completions"
    found = []
    for backend in (f"huggingface,tokenizer={DEMO_MODEL_FOLDER}", "remote"):
        arguments = f"base_url={url},model=persona,tokenizer_backend={backend}"
        folder = tmp_path / backend[:6]
        folder.mkdir()
        samples = evaluate(folder, "local-completions", arguments, "persona_choice")
        found.append([sample["filtered_resps"] for sample in samples])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("kind", "path", "more"),
    [
        ("local-completions", "completions", ()),
        ("local-chat-completions", "chat/completions", ("--apply_chat_template",)),
    ],
)
def test_texts_are_generated(
    stack: Stack, tmp_path: Path, kind: str, path: str, more: tuple[str, ...]
) -> None:
    arguments = f"base_url={stack.settings.gateway_url}/v1/{path},model=persona"
    if kind == "local-completions":
        arguments += f",tokenizer_backend=huggingface,tokenizer={DEMO_MODEL_FOLDER}"
    samples = evaluate(tmp_path, kind, arguments, "persona_generation", *more)
    assert all(sample["filtered_resps"][0].strip() for sample in samples)
