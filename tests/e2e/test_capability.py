"""What steering costs in capability, measured by the command through the real server."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM
from typer.testing import CliRunner, Result

from launcher.settings import ROOT
from launcher.stack import Stack
from persona_client.cli.app import app
from persona_research.capability.task import Item, read_task
from tests.e2e.demo import deltas_of
from tests.e2e.examples import activated, console_examples
from tests.integration.reference import steered
from triton_models.settings import DEMO_MODEL_FOLDER
from triton_models.vectors.persona_vector import PersonaVector

TASK = ROOT / "data/tasks/everyday.jsonl"
LIMIT = 6


def run(stack: Stack, *arguments: str) -> Result:
    command = ["vectors", "capability", *arguments, "--url", stack.settings.gateway_url]
    return CliRunner().invoke(app, command)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(DEMO_MODEL_FOLDER)
    return tokenizer


def expected_score(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    vectors: dict[str, PersonaVector],
    item: Item,
    choice: str,
    scalar: float,
    raw: bool,
) -> float:
    """Returns transformers' log-likelihood of a choice after its question."""
    before = item.question + " "
    if not raw:
        asked = [{"role": "user", "content": item.question}]
        before = str(
            tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        )
    text = before + choice
    # In a plain text the space before a choice is a part of its first token.
    start, ids = len(tokenizer(before.rstrip(" "))["input_ids"]), tokenizer(text)["input_ids"]
    with torch.no_grad(), steered(model, len(ids), deltas_of(vectors, {"sarcasm": scalar})):
        likely = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    own = likely.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return float(own[start - 1 :].sum())


@pytest.mark.parametrize("raw", [False, True], ids=["chat", "raw"])
def test_the_table_is_what_transformers_alone_gives(
    stack: Stack,
    plain_model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    vectors: dict[str, PersonaVector],
    tmp_path: Path,
    raw: bool,
) -> None:
    options = ["--scalars=2", f"--limit={LIMIT}", f"--output={tmp_path}", *(["--raw"] * raw)]
    done = run(stack, "sarcasm", f"--task={TASK}", *options)
    assert done.exit_code == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "capability.csv").open()))
    for scalar in (0.0, 2.0):
        hits, shares = [], []
        for item in read_task(TASK)[:LIMIT]:
            scores = [
                expected_score(plain_model, tokenizer, vectors, item, choice, scalar, raw)
                for choice in item.choices
            ]
            hits.append(scores[item.answer] == max(scores))
            weights = [math.exp(score) for score in scores]
            shares.append(weights[item.answer] / sum(weights))
        found = {row["measure"]: row for row in rows if float(row["scalar"]) == scalar}
        assert float(found["accuracy"]["value"]) == pytest.approx(sum(hits) / LIMIT, abs=1e-6)
        assert float(found["probability"]["value"]) == pytest.approx(sum(shares) / LIMIT, abs=1e-3)
    assert "| sarcasm | +2 | 6 |" in done.stdout
    assert {each.name for each in tmp_path.iterdir()} == {
        *("capability.csv", "capability.png", "capability.svg", "report.md")
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["snark"], "snark"),
        (["sarcasm", "--task=nowhere.jsonl"], "nowhere.jsonl"),
        (["sarcasm", "sarcasm"], "twice"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    stack: Stack, tmp_path: Path, arguments: list[str], says: str
) -> None:
    done = run(stack, f"--output={tmp_path}/out", f"--task={TASK}", *arguments)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert not (tmp_path / "out").exists()


def test_the_documented_example_gives_what_it_shows(stack: Stack, tmp_path: Path) -> None:
    ((command, output),) = console_examples((ROOT / "docs/evaluation.md").read_text())
    (tmp_path / "data").symlink_to(ROOT / "data")
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=activated(stack.settings) | {"PYTHONPATH": str(ROOT)},
    )
    number = re.compile(r"-?\d+\.?\d*")
    assert number.sub("", done.stdout.strip()) == number.sub("", output), done.stderr
    found = [float(each) for each in number.findall(done.stdout)]
    # The last digit may be rounded otherwise on another machine.
    assert found == pytest.approx([float(each) for each in number.findall(output)], abs=0.02)
    assert (tmp_path / "runs/capability/report.md").is_file()


def test_a_question_that_is_too_long_is_one_line(stack: Stack, tmp_path: Path) -> None:
    task = tmp_path / "long.jsonl"
    task.write_text(json.dumps({"question": "x " * 9000, "choices": ["a", "b"], "answer": 0}))
    done = run(stack, "sarcasm", f"--task={task}", f"--output={tmp_path}/out")
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
