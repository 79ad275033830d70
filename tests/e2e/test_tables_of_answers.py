"""Comparisons and sweeps as tables: of many prompts, and with what it takes to make them again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import httpx
import pytest

from launcher.stack import Stack
from persona_client import PersonaClient
from tests.e2e.command_line import persona
from triton_models.settings import DATA_ROOT

PROMPTS = ["Tell me about tea.", "How do I learn chess?"]
SHORT = ("--temperature", "0", "--max-tokens", "6")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as table:
        return list(csv.DictReader(table))


def test_answers_say_what_they_were_made_with(stack: Stack, api: httpx.Client) -> None:
    traits = api.get("/api/v1/traits").json()["traits"]
    weights = api.get("/status").json()["model_info"]["weights_sha256"]
    expected = {name: traits[name]["sha256"] for name in ("flattery", "helpfulness", "sarcasm")}
    steerings = [{"sarcasm": 1.0}, {"flattery": 1.0}]
    with PersonaClient(stack.settings.gateway_url) as client:
        whole = client.compare(PROMPTS[0], steerings, monitor=["helpfulness"], max_tokens=4)
        with client.sweep_stream(
            PROMPTS[0], trait="sarcasm", scalars=[0.0, 1.0], scores=True, max_tokens=4
        ) as stream:
            assert list(stream)
    for found in (whole, stream.whole):
        assert (found.model, found.weights_sha256) == ("persona-demo", weights)
        assert dict(found.vectors).items() <= expected.items()
    assert dict(whole.vectors) == expected
    assert list(stream.whole.vectors) == ["sarcasm"]
    assert weights


def test_a_sweep_of_many_prompts_is_one_table(stack: Stack, tmp_path: Path) -> None:
    prompts, table = tmp_path / "prompts.txt", tmp_path / "sweep.csv"
    prompts.write_text("\n".join([*PROMPTS, "", PROMPTS[0]]))
    asked = ("--prompts", str(prompts), "--trait", "sarcasm", "--scalars=-1,0,1", *SHORT)
    url = stack.settings.gateway_url
    done = persona("sweep", *asked, "--csv", str(table), PERSONA_URL=url)
    assert done.returncode == 0, done.stderr
    assert all(f"{prompt}\n" in done.stdout for prompt in PROMPTS)
    found = rows(table)
    assert [(row["prompt"], float(row["scalar"])) for row in found] == [
        (prompt, scalar) for prompt in PROMPTS for scalar in (-1.0, 0.0, 1.0)
    ]
    with PersonaClient(url) as client:
        again = client.sweep(
            PROMPTS[1],
            trait="sarcasm",
            scalars=[-1, 0, 1],
            scores=True,
            temperature=0,
            max_tokens=6,
        )
    assert [row["response"] for row in found[3:]] == [each.response for each in again.answers]
    assert [float(row["score"]) for row in found[3:]] == [
        pytest.approx(each.score, abs=1e-3) for each in again.answers
    ]
    assert all(row["vectors"] == f"sarcasm:{again.vectors['sarcasm']}" for row in found)
    assert all(row["sarcasm@1"] == row["score"] for row in found)

    printed = json.loads(persona("sweep", *asked, "--json", PERSONA_URL=url).stdout)
    assert [len(each["answers"]) for each in printed] == [3, 3]


def test_a_comparison_is_a_table(stack: Stack, tmp_path: Path) -> None:
    table = tmp_path / "compare.csv"
    asked = ("--steer", "sarcasm=2,flattery=1", "--monitor", "helpfulness", *SHORT)
    url = stack.settings.gateway_url
    done = persona("compare", PROMPTS[0], *asked, "--csv", str(table), PERSONA_URL=url)
    assert done.returncode == 0, done.stderr
    baseline, steered = rows(table)
    assert (baseline["label"], baseline["steering"]) == ("baseline", "")
    assert steered["steering"] == "sarcasm=2,flattery=1"
    block = json.loads((DATA_ROOT / "vectors/helpfulness.json").read_text())["metadata"]
    assert float(steered[f"helpfulness@{block['selected_layers'][0]}"])


def test_what_cannot_be_written_is_said_first(stack: Stack, tmp_path: Path) -> None:
    url = stack.settings.gateway_url
    nowhere = str(tmp_path / "no" / "sweep.csv")
    asked = ("sweep", PROMPTS[0], "--trait", "sarcasm")
    for more, words in (
        (("--csv", nowhere), "there is no folder"),
        (("--prompts", str(tmp_path / "none")), "give a prompt, or --prompts"),
    ):
        done = persona(*asked, *more, PERSONA_URL=url)
        assert done.returncode != 0
        assert words in " ".join(done.stderr.split())
