"""What is wrong with a file that an option names is said once, and so that it can be mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from persona_client.cli import options


def read(option: str, file: Path) -> None:
    if option == "--prompts":
        options.lines(file, option)
    else:
        given: Any = dict.fromkeys(options.PromptOptions.__annotations__)
        given |= dict.fromkeys(options.SamplingOptions.__annotations__)
        given[option.strip("-").replace("-", "_")] = file
        options.prompt_sampling(given)


@pytest.mark.parametrize("option", ["--prompts", "--json-schema", "--grammar"])
def test_a_file_that_is_missing_or_no_text_is_named_once(option: str, tmp_path: Path) -> None:
    missing, latin = tmp_path / "missing", tmp_path / "latin"
    latin.write_bytes(b"caf\xe9\n")
    for file, wrong in (
        (missing, "cannot be read: No such file or directory"),
        (latin, "is not UTF-8, at byte 3: save it as UTF-8"),
    ):
        with pytest.raises(typer.BadParameter) as raised:
            read(option, file)
        assert str(raised.value) == f"{option}: {file} {wrong}"
