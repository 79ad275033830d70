"""A server that is started again while a stack is supervised stays when that is over."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import cast

from launcher.loopback import supervised
from launcher.processes import ManagedProcess
from launcher.stack import Stack


class Starting:
    """A stack that starts a server when it is looked after."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.started = threading.Event()
        self.thread = 0
        self.server: ManagedProcess | None = None

    def tick(self) -> None:
        if self.server is None:
            self.thread = threading.get_ident()
            self.server = ManagedProcess("a server", ["sleep", "3600"], os.environ, self._log)
            self.started.set()


def test_a_server_that_was_started_again_stays(tmp_path: Path) -> None:
    stack = Starting(tmp_path / "log")
    with supervised(cast(Stack, stack)):
        assert stack.started.wait(60)
    assert stack.server
    try:
        # The kernel ends it with the thread that started it.
        assert stack.thread in {each.ident for each in threading.enumerate()}
        assert stack.server.running
    finally:
        stack.server.stop(patience_seconds=0)
