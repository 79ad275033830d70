"""The command that chats, before the real gateway."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from launcher.stack import Stack
from tests.e2e.command_line import persona
from tests.e2e.comparing import GREEDY, PROMPT
from tests.e2e.held_engine import BEGINNING, held_engine, num_cancelled
from tests.e2e.waiting import PATIENCE_SECONDS


def test_the_command_line_chats_and_changes_the_steering_on_the_way(
    stack: Stack, api: httpx.Client, tmp_path: Path
) -> None:
    saved = tmp_path / "chat.json"
    lines = [PROMPT, "/trait sarcasm 2", "/undo", PROMPT, "/trait sarcasm 0", f"/save {saved}"]
    done = persona(
        "chat",
        "--temperature",
        "0",
        "--max-tokens",
        "30",
        lines="\n".join(lines) + "\n",
        PERSONA_URL=stack.settings.gateway_url,
    )
    assert done.returncode == 0, done.stderr
    short = {**GREEDY, "max_tokens": 30}
    plain = api.post("/api/v1/generate/baseline", json=short).json()["response"]
    steered = {**short, "trait": "sarcasm", "scalar": 2.0}
    sarcastic = api.post("/api/v1/generate", json=steered).json()["response"]
    assert done.stdout == f"{plain}\n{sarcastic}\n"
    assert json.loads(saved.read_text())["turns"] == [
        {"user": PROMPT, "traits": {"sarcasm": 2.0}, "answer": sarcastic}
    ]


def test_ctrl_c_in_a_chat_stops_the_answer_in_the_engine(stack: Stack) -> None:
    address = stack.settings.grpc_address
    url = stack.settings.gateway_url
    command = [sys.executable, "-m", "persona_client.cli", "chat", "--max-tokens", "900"]
    # High enough that the model does not find an end.
    before = num_cancelled(address)
    with held_engine(stack.triton) as engine:
        process = subprocess.Popen(
            [*command, "--temperature", "2", "--top-k", "0", "--top-p", "1", "--url", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{PROMPT}\n")
        process.stdin.flush()
        engine.steps(BEGINNING)
        process.stdout.read(1)
        os.kill(process.pid, signal.SIGINT)
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 1)
    _, errors = process.communicate("/quit\n", timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
