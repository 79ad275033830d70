"""Processes start while gRPC works in the same process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from triton_models.settings import REPOSITORY_ROOT

# In a process of its own: what matters is read when grpc is imported, which other tests may have
# done before the launcher's modules.
STARTS = """
import os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from launcher.processes import ManagedProcess

import grpc

# A path that takes long to look through, so that a child is long between fork and exec.
MANY_FOLDERS = ":".join(f"/nonexistent/{number}" for number in range(5000))

server = grpc.server(ThreadPoolExecutor(2))
echo = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("any", {"call": echo}),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
ended = threading.Event()
channel = grpc.insecure_channel(f"127.0.0.1:{port}")


def call():
    while not ended.is_set():
        channel.unary_unary("/any/call")(b"", timeout=60)


threads = [threading.Thread(target=call) for _ in range(3)]
for thread in threads:
    thread.start()
try:
    for _ in range(60):
        environment = {"PATH": f"{MANY_FOLDERS}:{os.defpath}"}
        process = ManagedProcess("true", ["true"], environment, Path(sys.argv[1]))
        process._process.wait()
        assert process.exit_status == 0, Path(sys.argv[1]).read_text()
finally:
    ended.set()
    for thread in threads:
        thread.join()
    server.stop(None)
"""


def test_no_child_is_ended_by_the_channels_of_its_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTS, str(tmp_path / "log")]
    subprocess.run(command, cwd=REPOSITORY_ROOT, check=True)


def test_the_launcher_reads_what_protects_its_children_before_grpc() -> None:
    code = "import launcher.__main__, sys; print(*sys.modules, sep='\\n')"
    command = [sys.executable, "-c", code]
    modules = subprocess.check_output(command, cwd=REPOSITORY_ROOT, text=True).splitlines()
    assert modules.index("launcher.processes") < modules.index("grpc")
