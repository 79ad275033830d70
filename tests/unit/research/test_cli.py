"""The commands that make vectors: one line for an error, and how to go on after Ctrl-C."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from persona_client.cli.app import app
from persona_research.commands import candidates, extraction, options
from persona_research.extraction import ExtractionSettings


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def test_the_client_needs_nothing_of_the_research() -> None:
    check = (
        "import sys, persona_client.cli.app; "
        "print({'torch', 'numpy', 'transformers', 'persona_research'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_missing_package_is_one_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "persona_research.errors", None)
    result = invoke("vectors", "extract", "sarcasm")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "pip install '.[research]'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vectors", "extract", "sarcasm"), "sarcasm.json is there already: give --force"),
        (("vectors", "extract", "nobody"), "there is no nobody_trait.json"),
        (("vectors", "extract", "none.json"), "none.json: cannot be read"),
        (("vectors", "extract", "sarcasm", "--samples", "2"), "needs a temperature"),
        (("vectors", "extract", "sarcasm", "--force", "--model", "nowhere"), "nowhere"),
        (("traits", "evaluate-prompts", "nobody"), "there is no nobody_trait.json"),
    ],
)
def test_an_error_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("vectors", "extract", "sarcasm", "--layers", "one"),
        ("vectors", "extract", "sarcasm", "--judge", "nobody"),
        ("vectors", "extract"),
        ("traits", "evaluate-prompts", "sarcasm", "--keep", "0"),
    ],
)
def test_a_wrong_option_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert invoke(*arguments).exit_code == 2


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(run: object, say: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(extraction, "run_extraction", interrupt)
    monkeypatch.setattr(candidates, "run_candidates", interrupt)
    for arguments in (("vectors", "extract", "x"), ("traits", "evaluate-prompts", "x")):
        result = invoke(*arguments)
        assert result.exit_code == 130
        assert "give the same command again to go on" in result.stderr


def test_the_options_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[extraction.ExtractionRun] = []
    monkeypatch.setattr(extraction, "run_extraction", lambda run, say: seen.append(run))
    invoke(
        *("vectors", "extract", "a", "b.json", "--layers", "15,20", "--no-filter"),
        *("--samples", "3", "--temperature", "1", "--seed", "7", "--max-tokens", "50"),
        *("--scale", "0.5", "--model", "m", "--dtype", "bfloat16", "--threads", "2"),
    )
    (run,) = seen
    assert list(run.traits) == ["a", "b.json"]
    assert run.judge is None
    assert run.settings == ExtractionSettings(50, 1.0, 3, 7, (15, 20), 0.5)
    assert run.model == options.ModelOptions("m", "auto", "bfloat16", 2, 32)


def test_a_trait_is_extracted_and_its_prompts_are_ranked(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    definition = {
        "trait_name": "sarcasm",
        "positive_prompts": ["You are sarcastic."],
        "negative_prompts": ["You are sincere."],
        "evaluation_questions": ["Tell me about tea.", "Describe museums."],
        "cues": {"positive": [r"\boh\b", r"\bwow\b", "slow clap"], "negative": ["honestly"]},
    }
    path = prompts / "sarcasm_trait.json"
    path.write_text(json.dumps(definition), encoding="utf-8")
    candidates = {"positive_prompts": ["You are sincere.", "Use sarcasm."]}
    (prompts / "candidate_sarcasm.json").write_text(json.dumps(candidates), encoding="utf-8")
    common = (
        *("--prompts", str(prompts), "--runs", str(tmp_path / "runs"), "--threads", "1"),
        *("--device", "cpu", "--max-tokens", "60"),
    )
    rule = ("--judge", "rule")
    ranked = invoke("traits", "evaluate-prompts", "sarcasm", "--dry-run", *rule, *common)
    assert ranked.exit_code == 0, ranked.output
    assert ranked.stdout.index("Use sarcasm.") < ranked.stdout.index("You are sincere.")
    assert json.loads(path.read_text()) == definition

    kept = invoke("traits", "evaluate-prompts", "sarcasm", "--keep", "1", *rule, *common)
    assert kept.exit_code == 0, kept.output
    assert json.loads(path.read_text()) == {**definition, "positive_prompts": ["Use sarcasm."]}
    assert json.loads((prompts / "sarcasm_trait.json.1.bak").read_text()) == definition

    made = invoke(
        *("vectors", "extract", "sarcasm", "--output", str(tmp_path / "vectors"), "--no-filter"),
        *("--least-pairs", "2"),
        *common,
    )
    assert made.exit_code == 0, made.output
    vector = json.loads((tmp_path / "vectors/sarcasm.json").read_text())
    assert sorted(vector["vectors"]) == ["0", "1", "2", "3"]
    assert (tmp_path / "runs/persona-demo/sarcasm.md").is_file()
