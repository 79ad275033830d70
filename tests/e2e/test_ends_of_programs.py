"""A program that keeps an unfinished answer ends at once, in silence, and stops the generation."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from launcher.settings import ROOT
from launcher.stack import Stack
from tests.e2e.held_engine import BEGINNING, held_engine, num_cancelled
from tests.e2e.waiting import PATIENCE_SECONDS

ASK = '.stream("How do I bake bread?", max_tokens=900, min_tokens=900)'

TRITON = f"""
from persona_client.triton import TritonPersonaClient
chunks = TritonPersonaClient("ADDRESS"){ASK}
"""
BEGUN_TRITON = TRITON + "print(next(chunks).text, flush=True)\n"

# Python frees nothing that such a thread has, not even at the very end.
KEPT_BY_A_THREAD = f"""{BEGUN_TRITON}
import threading
keep = lambda chunks: threading.Event().wait()
threading.Thread(target=keep, args=(chunks,), daemon=True).start()
del chunks
"""

BEGUN_SYNC = f"""
from persona_client import PersonaClient
chunks = iter(PersonaClient("URL"){ASK})
print(next(chunks).text, flush=True)
"""

BEGUN_ASYNC = f"""
import asyncio
from persona_client import AsyncPersonaClient

async def main():
    global chunks
    chunks = aiter(AsyncPersonaClient("URL"){ASK})
    print((await anext(chunks)).text, flush=True)

asyncio.run(main())
"""

# What is registered first is called last, after all that the client does at the exit.
SOCKETS_AT_EXIT = """
import atexit, os, threading
from pathlib import Path
from tests.e2e.waiting import eventually

def sockets():
    links = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return [link for link in links if link.startswith("socket:")]

atexit.register(lambda: print(eventually(lambda: not sockets())))
"""


def start(stack: Stack, script: str) -> subprocess.Popen[str]:
    settings = stack.settings
    script = script.replace("ADDRESS", settings.grpc_address).replace("URL", settings.gateway_url)
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "script",
    [BEGUN_TRITON, KEPT_BY_A_THREAD, BEGUN_SYNC, BEGUN_ASYNC],
    ids=["triton", "thread", "sync", "async"],
)
def test_an_answer_that_is_kept_is_stopped(stack: Stack, script: str) -> None:
    address = stack.settings.grpc_address
    before = num_cancelled(address)
    with held_engine(stack.triton) as engine, start(stack, script) as process:
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 1)
        shown, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert shown.strip()
    assert (process.returncode, errors) == (0, "")


def test_ctrl_c_ends_a_program_that_waits_for_triton(stack: Stack) -> None:
    address = stack.settings.grpc_address
    before = num_cancelled(address)
    script = f"{TRITON}for chunk in chunks: print(chunk.text, flush=True)"
    with held_engine(stack.triton) as engine, start(stack, script) as process:
        assert process.stdout
        engine.steps(BEGINNING)
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 1)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors.count("Traceback")) == (-signal.SIGINT, 1)


def test_the_triton_client_leaves_no_connection_and_needs_no_thread(stack: Stack) -> None:
    script = f"""{SOCKETS_AT_EXIT}{BEGUN_TRITON}
print(len(sockets()), threading.active_count())
chunks.close()
print(eventually(lambda: not sockets()))
{BEGUN_TRITON}"""
    with start(stack, script) as process:
        shown, errors = process.communicate(timeout=3 * PATIENCE_SECONDS)
    left = [line for line in shown.splitlines() if line in ("1 1", "True", "False")]
    assert (left, errors) == (["1 1", "True", "True"], "")
