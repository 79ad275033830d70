"""Whether a server's models work, asked without generating anything.

The supervisor beside each Triton makes its models generate, and repairs them; a gateway only has to
know where not to send requests. Each part is asked a question that waits for no place in the batch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from gateway.errors import (
    NOT_LOADED_MESSAGE,
    SILENT_MESSAGE,
    UNREACHABLE_MESSAGE,
    DeadlineError,
    GatewayError,
    InvalidRequestError,
    ModelDeadError,
    ModelNotLoadedError,
    OverloadedError,
    UnavailableError,
    UnreachableError,
)
from gateway.triton.server import TritonServer
from gateway.triton.shared_findings import Finding, ServerHealth, SharedFindings
from triton_models.contract.tensors import PERSONA, STEERED_QWEN
from triton_models.signs_of_life import STEP_QUESTIONS

_logger = logging.getLogger(__name__)

ASK_SECONDS = 2.0
"""How long a part may be silent."""

_DOUBT_SECONDS = 0.2
_SILENT_LOOKS = 3
"""After so many silent looks in a row requests go elsewhere."""

_AT_WORK = (ServerHealth.WELL, ServerHealth.BUSY)


class HealthWatch:
    """Looks at one server, every `interval` seconds if all is well, and tells it what was found."""

    def __init__(
        self,
        server: TritonServer,
        interval: float,
        shared: SharedFindings,
        noted: Callable[[], None],
    ) -> None:
        self._server = server
        self._interval = interval
        self._shared = shared
        self._noted = noted
        self._condition = ServerHealth.WELL
        self._silent_looks = 0
        self._output_when_silent = -1

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            try:
                await self._look()
            except Exception:
                _logger.exception("looking at a server failed")
            await self._pause()

    @property
    def _pause_seconds(self) -> float:
        well = self._condition is ServerHealth.WELL
        return self._interval if well else min(self._interval, _DOUBT_SECONDS)

    async def _pause(self) -> None:
        """Waits until the next look, which a request that has failed brings forward."""
        if self._condition is not ServerHealth.WELL:
            await asyncio.sleep(self._pause_seconds)
            return
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._server.suspicion.wait(), self._pause_seconds)

    async def _look(self) -> None:
        suspected = self._server.suspicion.is_set()
        self._server.suspicion.clear()
        address = self._server.address
        finding = None if suspected else self._shared.latest(address, self._pause_seconds)
        if finding is None:
            # Where many requests fail, an examination that each of them broke off would never end.
            finding = await (self._examine() if suspected else self._examine_until_suspicion())
            if finding is None:
                return
            self._shared.publish(address, finding)
        self._take(finding)
        self._noted()

    def _take(self, finding: Finding) -> None:
        condition = finding.condition
        self._silent_looks = self._silent_looks + 1 if condition is ServerHealth.SILENT else 0
        self._server.at_work = condition in _AT_WORK
        changed = condition is not self._condition
        self._condition = condition
        if changed:
            level = logging.INFO if condition is ServerHealth.WELL else logging.WARNING
            extra = {"triton": self._server.address, "reason": finding.reason}
            _logger.log(level, f"the model is {condition.value}", extra=extra)
        if condition in _AT_WORK:
            # A busy one may still be failing requests, and so stays in doubt.
            if condition is ServerHealth.WELL or self._server.refuses:
                self._server.accept()
        elif changed or self._silent_looks == _SILENT_LOOKS:
            self._stop_sending(finding)

    def _stop_sending(self, finding: Finding) -> None:
        server, reason = self._server, finding.reason
        if finding.condition is ServerHealth.UNREACHABLE:
            # A server that is stopping may still finish what it has.
            server.refuse(UnreachableError(UNREACHABLE_MESSAGE, reason))
        elif finding.condition is ServerHealth.DRAINING:
            server.refuse(ModelNotLoadedError(NOT_LOADED_MESSAGE, reason))
        elif finding.condition is ServerHealth.SILENT:
            if self._silent_looks >= _SILENT_LOOKS:
                server.refuse(UnavailableError(SILENT_MESSAGE, reason))
        else:
            # What a part had that is dead, or being loaded again, is answered by nobody.
            server.give_up(ModelDeadError(finding.model))

    async def _examine_until_suspicion(self) -> Finding | None:
        """Examines, unless a request fails meanwhile: what was asked before a death may hang."""
        examining = asyncio.create_task(self._examine())
        suspecting = asyncio.create_task(self._server.suspicion.wait())
        both = {examining, suspecting}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return examining.result() if examining.done() else None
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)

    async def _examine(self) -> Finding:
        for model, question in _questions(self._server).items():
            try:
                await question()
            except GatewayError as error:
                finding = finding_of(error, model)
                if isinstance(error, DeadlineError) and await self._sends():
                    return finding._replace(condition=ServerHealth.BUSY)
                return finding
        return Finding(ServerHealth.WELL)

    async def _sends(self) -> bool:
        """Whether clients have got anything since the last time that a part was silent.

        Under load even a healthy part may be silent for a while.
        """
        try:
            output = await self._server.count_chunks(ASK_SECONDS)
        except GatewayError:
            return False
        before, self._output_when_silent = self._output_when_silent, output
        return output != before


def _questions(server: TritonServer) -> dict[str, Callable[[], Awaitable[object]]]:
    """Returns what to ask of each model; a question that is not answered well raises."""

    async def engine() -> None:
        description = await server.describe(ASK_SECONDS)
        if not description.get("engine", {}).get("alive", True):
            raise UnavailableError(SILENT_MESSAGE, "the engine has ended")

    async def ensemble() -> None:
        if not await server.is_loaded(PERSONA, ASK_SECONDS):
            raise ModelNotLoadedError(NOT_LOADED_MESSAGE, "it is unloaded")

    steps = {
        step: partial(server.ask, step, f"health-{step}", question, ASK_SECONDS)
        for step, question in STEP_QUESTIONS.items()
    }
    return {STEERED_QWEN: engine, **steps, PERSONA: ensemble}


async def check_readiness(server: TritonServer) -> None:
    """Asks the engine, the steps beside it, and whether the ensemble takes requests.

    Raises:
        GatewayError: One of them does not answer as it should.
    """
    for question in _questions(server).values():
        await question()


def finding_of(error: GatewayError, asked: str) -> Finding:
    """Returns what an error says about the server."""
    reason = error.detail or error.message
    match error:
        case ModelDeadError():
            return Finding(ServerHealth.DEAD, reason, error.model)
        case ModelNotLoadedError():
            # The ensemble alone is unloaded before a stop; a step is while it is loaded again.
            draining = asked == PERSONA
            condition = ServerHealth.DRAINING if draining else ServerHealth.NOT_LOADED
        case UnreachableError():
            condition = ServerHealth.UNREACHABLE
        case OverloadedError():
            condition = ServerHealth.BUSY
        case InvalidRequestError():
            # Refused with a reason: whatever is wrong with the question, the model is there.
            condition = ServerHealth.WELL
        case _:
            condition = ServerHealth.SILENT
    return Finding(condition, reason, asked)
