"""Processes start while gRPC works in the same process."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from launcher.processes import ManagedProcess

_STARTS = 30
_MANY_FOLDERS = ":".join(f"/nonexistent/{number}" for number in range(5000))
"""A path that takes long to look through, so that a child is long between fork and exec."""


def test_no_child_is_ended_by_the_channels_of_its_parent(tmp_path: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    echo = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("any", {"call": echo}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    ended = threading.Event()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

        def call() -> None:
            while not ended.is_set():
                channel.unary_unary("/any/call")(b"", timeout=60)

        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(_STARTS):
                process = ManagedProcess(
                    "true", ["true"], {"PATH": f"{_MANY_FOLDERS}:{os.defpath}"}, tmp_path / "log"
                )
                process._process.wait()
                assert process.exit_status == 0, process.output
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            server.stop(None)
