"""The command's own manners: one line for an error, status 1, and usage errors before any call."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from persona_client.cli import output, sweep, sweep_output
from persona_client.cli.app import app
from persona_client.comparisons import ComparedAnswer, OneAnswer, SweptAnswer
from persona_client.results import Completion, LikelyToken, Status, TokenLogprob, Trait

NOBODY_LISTENS = "http://127.0.0.1:9"


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "hi"),
        ("generate", "hi", "--trait", "sarcasm", "--scalar", "-2"),
        ("generate", "hi", "--json"),
        ("generate", "hi", "--monitor", "sarcasm", "--monitor", "flattery", "--logprobs", "3"),
        ("compare", "hi", "--trait", "sarcasm", "--monitor", "sarcasm"),
        ("compare", "hi", "--trait", "sarcasm", "--scalars", "-1,1"),
        ("compare", "hi", "--steer", "sarcasm=2,flattery=-1", "--steer", "sarcasm=1"),
        ("sweep", "hi", "--trait", "sarcasm"),
        ("traits",),
        ("status",),
    ],
)
def test_a_server_that_is_down_is_one_line_and_how_to_start_it(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments, "--url", NOBODY_LISTENS)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: cannot reach the server at http://127.0.0.1:9")
    assert "serve.sh" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_address_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONA_URL", "http://127.0.0.1:7")
    assert "127.0.0.1:7" in invoke("status").stderr


def test_an_address_without_a_scheme_says_what_is_missing() -> None:
    result = invoke("status", "--url", "localhost:8000")
    assert result.exit_code == 1
    assert "must begin with http://" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "hi", "--trait", "sarcasm"),
        ("generate", "hi", "--scalar", "1"),
        ("compare", "hi", "--trait", "sarcasm", "--scalars", "a,b"),
        ("compare", "hi"),
        ("compare", "hi", "--trait", "sarcasm", "--steer", "sarcasm=2"),
        ("compare", "hi", "--steer", "sarcasm"),
        ("sweep", "hi", "--trait", "sarcasm", "--scalars", "a"),
        ("sweep", "hi", "--trait", "sarcasm", "--no-scores", "--plot", "x.png"),
        ("chat", "--steer", "sarcasm=much"),
    ],
)
def test_wrong_usage_has_a_status_of_its_own(arguments: tuple[str, ...]) -> None:
    assert invoke(*arguments).exit_code == 2


def test_the_version_is_that_of_the_installed_distribution() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"persona {importlib.metadata.version('persona-triton')}\n"


def completion(scalar: float, text: str) -> Completion:
    return Completion(
        response=text,
        trait="sarcasm",
        scalar=scalar,
        tokens_generated=1,
        finish_reason="stop",
        prompt_tokens=1,
    )


def one_answer(text: str, **more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {field.name: None for field in dataclasses.fields(OneAnswer)}
    fields |= {"index": 1, "success": True, "response": text, "warnings": ()}
    fields |= {"calibrated_readouts": {}, "limits_reached": ()}
    return {**fields, **more}


def compared(scalar: float, text: str, **more: Any) -> ComparedAnswer:
    label = f"sarcasm {scalar:+g}" if scalar else "baseline"
    return ComparedAnswer(**one_answer(text, **more), label=label, traits={"sarcasm": scalar})


def test_a_comparison_that_is_piped_is_one_answer_after_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = [compared(-2, "sincere"), compared(0, "plain"), compared(2, "sarcastic")]
    output.print_comparison(answers)
    assert capsys.readouterr().out == (
        "sarcasm -2\nsincere\n\nbaseline\nplain\n\nsarcasm +2\nsarcastic\n"
    )


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_readouts_are_a_line_for_each_trait_and_layer(capsys: pytest.CaptureFixture[str]) -> None:
    readouts = {"sarcasm": {1: 2.5, 2: -0.125}, "flattery": {1: 0.0}}
    output.print_details(dataclasses.replace(completion(2, "x"), readouts=readouts))
    assert lines(capsys.readouterr().out) == [
        [],
        ["monitored", "layer", "mean", "projection"],
        ["sarcasm", "1", "+2.50"],
        ["sarcasm", "2", "-0.12"],
        ["flattery", "1", "+0.00"],
    ]


def test_a_comparison_has_a_column_of_readouts_for_each_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = [
        compared(scalar, "x", readouts={"sarcasm": {1: scalar * 3}}) for scalar in (-2.0, 0.0, 2.0)
    ]
    output.print_comparison(answers)
    assert lines(capsys.readouterr().out)[-2:] == [
        ["monitored", "layer", "sarcasm", "-2", "baseline", "sarcasm", "+2"],
        ["sarcasm", "1", "-6.00", "+0.00", "+6.00"],
    ]


def test_an_answer_too_short_to_read_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_details(dataclasses.replace(completion(0, "x"), readouts={"sarcasm": {}}))
    assert "one token" in capsys.readouterr().out


def test_logprobs_are_a_line_for_each_token(capsys: pytest.CaptureFixture[str]) -> None:
    tokens = (
        TokenLogprob(" a", (32, 97), math.log(0.75), (LikelyToken("\n", (10,), math.log(0.2)),)),
        TokenLogprob("日", (), math.log(0.5)),
    )
    output.print_details(dataclasses.replace(completion(0, "x"), logprobs=tokens))
    assert lines(capsys.readouterr().out)[2:] == [
        ['"', 'a"', "75.0%", '"\\n"', "20.0%"],
        ['"日"', "50.0%"],
    ]


def test_json_keeps_text_readable(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"response": "日本"})
    out = capsys.readouterr().out
    assert "日本" in out
    assert json.loads(out) == {"response": "日本"}


def test_a_status_names_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"source": "x.json", "reason": "the hidden size is 8"}
    output.print_status(
        Status(False, "demo", "cpu", (), problems=(problem,), error="it is starting")
    )
    out = capsys.readouterr().out
    assert "not ready" in out
    assert "it is starting" in out
    assert "x.json: the hidden size is 8" in out
    assert "KV cache" not in out


def test_a_status_says_how_full_the_server_is(capsys: pytest.CaptureFixture[str]) -> None:
    engine = {"running": 3, "waiting": 0, "kv_tokens_used": 120, "kv_tokens_total": 4096}
    output.print_status(Status(True, "demo", "cpu", (), engine=engine))
    assert "120 of 4096 tokens" in capsys.readouterr().out


def test_traits_come_with_their_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    trait = Trait("sarcasm", "other", (1, 2), 2, {}, ("made from other",))
    output.print_traits({"sarcasm": trait})
    out = capsys.readouterr().out
    assert "1, 2" in out
    assert "made from other" in out


def test_a_terminal_is_not_controlled_by_what_the_model_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.write("a\x1b[2Jb\tc\n")
    assert capsys.readouterr().out == "a\ufffd[2Jb\tc\n"


def test_an_answer_that_failed_says_why_in_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    failed = compared(2, "as far as", success=False, error="it broke")
    output.print_comparison([compared(0, "plain"), failed])
    assert capsys.readouterr().out.endswith("sarcasm +2\nas far as\n[it broke]\n")


def swept(
    scalar: float, score: float | None, text: str = "x", net: float | None = None, **more: Any
) -> SweptAnswer:
    answer = one_answer(text, **more)
    return SweptAnswer(**answer, scalar=scalar, score=score, net_score=net)


def test_a_sweep_is_a_line_for_each_scalar_with_its_score_as_a_bar(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = [
        swept(-2, -31.0, "sincere", -20.0),
        swept(0, 0.0, "plain", 0.0),
        swept(1, 15.0, "sarcastic", 10.0),
    ]
    sweep_output.print_sweep("sarcasm", answers, scored=True)
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["sarcasm", "score", "net", "answer"]
    assert rows[0].split() == ["-2", "-31.00", "-20.00", "█" * 10 + "│", "sincere"]
    assert rows[1].split() == ["0", "+0.00", "+0.00", "│", "plain"]
    assert rows[2].split() == ["+1", "+15.00", "+10.00", "│" + "█" * 5, "sarcastic"]
    middles = {row.index("│") for row in rows}
    assert len(middles) == 1


def test_a_sweep_shows_what_could_not_be_scored_and_what_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = [swept(0, None), swept(1, None, "", success=False, error="it broke")]
    sweep_output.print_sweep("sarcasm", answers, scored=True)
    assert [row.split() for row in capsys.readouterr().out.splitlines()[1:]] == [
        ["0", "x"],
        ["+1", "[it", "broke]"],
    ]
    sweep_output.print_sweep("sarcasm", answers, scored=False)
    assert "score" not in capsys.readouterr().out


def test_a_sweep_s_plot_is_an_image(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "sweep.png"
    sweep_output.write_plot(path, "sarcasm", [swept(1, 2.0), swept(-1, -1.0), swept(0, None)])
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_plot_that_cannot_be_written_fails_before_any_call(tmp_path: Path) -> None:
    target = tmp_path / "nowhere" / "x.png"
    result = invoke("sweep", "hi", "--trait", "sarcasm", "--plot", str(target))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no folder" in result.stderr


def test_a_plot_that_cannot_be_written_is_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    plot = tmp_path / "folder.png"
    plot.mkdir()
    found: Any = {"hi": SimpleNamespace(answers=[swept(1, 2.0)])}
    with pytest.raises(typer.Exit):
        sweep._write_files(plot, None, sweep._Series("sarcasm", "scalar"), found)
    assert capsys.readouterr().err == f"error: {plot} cannot be written: Is a directory\n"


def test_the_commands_need_only_what_the_client_does() -> None:
    code = (
        "import sys; from persona_client.cli import app\n"
        "for name in ('numpy', 'torch', 'matplotlib', 'tritonclient', 'pydantic', 'fastapi'):\n"
        "    assert name not in sys.modules, name"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
