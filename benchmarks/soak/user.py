"""What a user does: one request after another, of every kind that a gateway has to bear."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from benchmarks.soak.bad_input import CHAT, COMPLETIONS, GENERATE, JSON
from benchmarks.soak.servers import GatewayProcess
from benchmarks.soak.traffic import BASELINE, COMPARE, PROMPTS, SWEEP, Traffic
from benchmarks.soak.verdicts import AnswerKind, Expected, Outcome, Verdict, judge
from benchmarks.soak.wire import WireCall, connected, exchange

READ = (
    "/",
    "/health",
    "/health/ready",
    "/status",
    "/metrics",
    "/openapi.json",
    "/v1/models",
    "/api/v1/traits",
    "/api/v1/traits/sarcasm",
    "/playground/app.js",
)
_MILD, _HARMFUL = ("flattery", "helpfulness", "sarcasm"), ("maliciousness", "racism", "sexism")

PAUSE_SECONDS = 0.1
"""A user's longest pause between two requests: on two cores the servers, not this program, are to
be busy."""

BUSY_PAUSE_SECONDS = 1.0


class User:
    """Somebody who asks one thing after another."""

    def __init__(self, number: int, seed: int, traffic: Traffic) -> None:
        self._number = number
        self._pick = random.Random(f"{seed} {number}")
        self._traffic = traffic
        self._servers = traffic.servers
        self._actions: dict[Callable[[GatewayProcess], Awaitable[None]], int] = {
            self._generate: 40,
            self._complete: 24,
            self._compare: 8,
            self._sweep: 6,
            self._leave: 16,
            self._read_slowly: 3,
            self._send_bad_input: 12,
            self._change_vector: 3,
            self._ask_known: 8,
            self._look: 6,
            self._break_policy: 2,
            self._hold_half_a_request: 1,
        }

    async def run(self) -> None:
        """Asks until it is over."""
        while not self._traffic.over:
            [action] = self._pick.choices([*self._actions], [*self._actions.values()])
            await action(self._pick.choice(self._servers.gateways))
            await asyncio.sleep(self._pick.uniform(0, PAUSE_SECONDS))

    async def _generate(self, gateway: GatewayProcess) -> None:
        steered = self._pick.random() < 0.8
        body = {**self._sampling(), "prompt": self._prompt()}
        if steered:
            trait, scalar = self._trait()
            body |= {"trait": trait, "scalar": scalar}
        if self._pick.random() < 0.1:
            body |= {"logprobs": 2, "monitor": ["flattery"]}
        await self._ask(gateway, GENERATE if steered else BASELINE, body, AnswerKind.GENERATED)

    async def _complete(self, gateway: GatewayProcess) -> None:
        body: dict[str, Any] = {**self._sampling(), "model": "persona"}
        if self._pick.random() < 0.5:
            trait, scalar = self._trait()
            body["steering"] = {"traits": [{"name": trait, "scalar": scalar}]}
        if self._pick.random() < 0.7:
            body["messages"] = [{"role": "user", "content": self._prompt()}]
            await self._ask(gateway, CHAT, body, AnswerKind.CHAT)
        else:
            body |= {"prompt": self._prompt(), "n": self._pick.choice([1, 1, 2])}
            await self._ask(gateway, COMPLETIONS, body, AnswerKind.COMPLETION)

    async def _compare(self, gateway: GatewayProcess) -> None:
        body = {
            **self._sampling(most=40),
            "prompt": self._prompt(),
            "steerings": self._steerings(3),
        }
        await self._ask(gateway, COMPARE, body, AnswerKind.COMPARED)

    async def _sweep(self, gateway: GatewayProcess) -> None:
        body = {
            **self._sampling(most=40),
            "prompt": self._prompt(),
            "trait": self._pick.choice(_MILD),
            "scalars": [-1.0, 0.0, 1.5],
            "scores": True,
        }
        await self._ask(gateway, SWEEP, body, AnswerKind.COMPARED)

    async def _leave(self, gateway: GatewayProcess) -> None:
        """Goes away, at any stage of a request."""
        action = self._pick.choice(
            [
                "leave amid the headers",
                "leave amid the body",
                "leave after the request",
                "leave after the first piece",
                "leave amid the stream",
            ]
        )
        bodies: list[tuple[str, dict[str, Any]]] = [
            (GENERATE, {"trait": "sarcasm", "scalar": 1.0}),
            (BASELINE, {}),
            (COMPARE, {"steerings": self._steerings(2)}),
            (CHAT, {"model": "persona", "messages": [{"role": "user", "content": "Hi"}]}),
        ]
        path, body = self._pick.choice(bodies)
        if path != CHAT:
            body = {**body, "prompt": self._prompt()}
        streamed = "piece" in action or "stream" in action or self._pick.random() < 0.5
        body = {**body, "stream": streamed, "max_tokens": 400, "min_tokens": 400}
        request_id, call = self._call(path, body)
        reset, pieces = self._pick.random() < 0.5, self._pick.randint(2, 20)
        wait = self._pick.uniform(0, 0.3)

        async def go() -> Verdict:
            async with connected(gateway.port) as connection:
                if action == "leave amid the headers":
                    await connection.send(call.head()[: len(call.head()) // 2])
                elif action == "leave amid the body":
                    await connection.send(call.encoded()[:-10])
                else:
                    await connection.send(call.encoded())
                if action in ("leave after the first piece", "leave amid the stream"):
                    reply = await connection.head()
                    for _ in range(1 if "first" in action else pieces):
                        if not await connection.piece(reply):
                            expected = Expected(_kind_of(path), streamed)
                            return judge(reply, expected, request_id)
                else:
                    await asyncio.sleep(wait)
                if reset:
                    connection.reset()
                return Verdict(Outcome.CUT)

        await self._traffic.settle(action, gateway, path, request_id, go())

    async def _read_slowly(self, gateway: GatewayProcess) -> None:
        """Reads a stream at a crawl, or stops reading it for seconds and goes."""
        body = {
            "prompt": self._prompt(),
            "trait": "flattery",
            "scalar": 1.0,
            "max_tokens": 300,
            "min_tokens": 300,
            "stream": True,
            "logprobs": 5,
        }
        request_id, call = self._call(GENERATE, body)
        stall = self._pick.random() < 0.3
        pause = self._pick.uniform(0.005, 0.03)

        async def go() -> Verdict:
            async with connected(gateway.port, small=True) as connection:
                await connection.send(call.encoded())
                reply = await connection.head()
                if stall:
                    await asyncio.sleep(5)
                    return Verdict(Outcome.CUT)
                while await connection.piece(reply):
                    await asyncio.sleep(pause)
                return judge(reply, Expected(AnswerKind.GENERATED, streamed=True), request_id)

        action = "stop reading" if stall else "read slowly"
        await self._traffic.settle(action, gateway, GENERATE, request_id, go())

    async def _send_bad_input(self, gateway: GatewayProcess) -> None:
        bad = self._traffic.bad(self._pick)
        request_id = self._traffic.next_id()

        async def go() -> Verdict:
            async with connected(gateway.port) as connection:
                try:
                    await connection.send(bad.data.replace(b"{id}", request_id.encode(), 1))
                except OSError:  # refused before all of it was sent
                    return Verdict(Outcome.REFUSED, "closed")
                try:
                    reply = await connection.rest(await connection.head())
                except ConnectionResetError:
                    # What had not been read yet is answered by a reset, which may overtake.
                    return Verdict(Outcome.REFUSED, "reset")
                sent_id = request_id if b"{id}" in bad.data else ""
                verdict = judge(reply, bad.expected, sent_id)
                return Verdict(verdict.outcome, f"{bad.name}: {verdict.detail}")

        await self._traffic.settle("bad input", gateway, bad.path, request_id, go())

    async def _change_vector(self, gateway: GatewayProcess) -> None:
        """Uploads a vector under a name of this user's own, steers by it, and removes it."""
        name = f"soak_{self._number}"
        file_name = self._pick.choice([*self._traffic.uploads])
        path = f"/api/v1/traits/{name}"
        content = self._traffic.uploads[file_name]
        put = WireCall("PUT", f"{path}?filename={file_name}", self._as_admin(), content)
        if not await self._manage("upload a vector", gateway, put, {200, 201}):
            return
        body = {"prompt": "Hi", "trait": name, "scalar": 1.0, "max_tokens": 8}
        await self._ask(gateway, GENERATE, body, AnswerKind.GENERATED, action="steer by an upload")
        # It may have gone already where the answer to an earlier attempt was lost in a fault.
        delete = WireCall("DELETE", path, self._as_admin())
        if await self._manage("remove a vector", gateway, delete, {204}):
            gone = Expected(statuses=frozenset({400}))
            await self._ask(gateway, GENERATE, body, gone, action="steer by a removed vector")

    async def _ask_known(self, gateway: GatewayProcess) -> None:
        known = self._pick.choice(self._traffic.references)
        verdict = await self._ask(
            gateway, known.path, known.body, known.kind, action="known answer"
        )
        if verdict.outcome is Outcome.ANSWERED and verdict.text != known.text:
            self._traffic.ledger.lose(
                "known answer", f"was {known.text!r}, and now is {verdict.text!r}"
            )

    async def _look(self, gateway: GatewayProcess) -> None:
        """Reads what there is to read."""
        path = self._pick.choice(READ)
        headers = {**self._with_key(), "x-request-id": self._traffic.next_id()}
        await self._exchange("look", gateway, WireCall("GET", path, headers), Expected())

    async def _break_policy(self, gateway: GatewayProcess) -> None:
        body = {"prompt": "Hi", "trait": self._pick.choice(_HARMFUL), "scalar": 1.0}
        refused = Expected(statuses=frozenset({403}))
        await self._ask(gateway, GENERATE, body, refused, action="break the policy")

    async def _hold_half_a_request(self, gateway: GatewayProcess) -> None:
        """Keeps a connection that says nothing, or half of something, for some seconds."""
        request_id, call = self._call(GENERATE, {"prompt": "Hi"})
        data = self._pick.choice([b"", call.head()[:20], call.head()])
        seconds = self._pick.uniform(2, 6)

        async def go() -> Verdict:
            async with connected(gateway.port) as connection:
                await connection.send(data)
                await asyncio.sleep(seconds)
                return Verdict(Outcome.CUT)

        await self._traffic.settle("half a request", gateway, GENERATE, request_id, go())

    async def _ask(
        self,
        gateway: GatewayProcess,
        path: str,
        body: Mapping[str, Any],
        expected: AnswerKind | Expected,
        action: str = "",
    ) -> Verdict:
        streamed = bool(body.get("stream"))
        if isinstance(expected, AnswerKind):
            action = action or f"{expected.value}{', streamed' if streamed else ''}"
            expected = Expected(expected, streamed)
        _, call = self._call(path, body)
        verdict = await self._exchange(action, gateway, call, expected)
        if verdict.outcome in (Outcome.BUSY, Outcome.FAILED):
            await asyncio.sleep(BUSY_PAUSE_SECONDS)
        return verdict

    async def _manage(
        self, action: str, gateway: GatewayProcess, call: WireCall, statuses: set[int]
    ) -> bool:
        # A change whose answer a fault cut off may have been made: then it is found made.
        expected = Expected(
            statuses=frozenset({*statuses, 404} if call.method == "DELETE" else statuses)
        )
        verdict = await self._exchange(action, gateway, call, expected)
        return verdict.outcome is Outcome.ANSWERED

    async def _exchange(
        self, action: str, gateway: GatewayProcess, call: WireCall, expected: Expected
    ) -> Verdict:
        """Sends a request, reads the whole answer and judges it."""
        request_id = call.headers["x-request-id"]

        async def go() -> Verdict:
            return judge(await exchange(gateway.port, call), expected, request_id)

        return await self._traffic.settle(action, gateway, call.path, request_id, go())

    def _call(self, path: str, body: Mapping[str, Any]) -> tuple[str, WireCall]:
        request_id = self._traffic.next_id()
        headers = {**JSON, **self._with_key(), "x-request-id": request_id}
        return request_id, WireCall("POST", path, headers, json.dumps(body).encode())

    def _with_key(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._servers.keys.user}"}

    def _as_admin(self) -> dict[str, str]:
        return {"x-api-key": self._servers.keys.admin, "x-request-id": self._traffic.next_id()}

    def _prompt(self) -> str:
        words = self._pick.choice([0, 0, 10, 80])
        return self._pick.choice(PROMPTS) + " and more" * words

    def _trait(self) -> tuple[str, float]:
        if self._pick.random() < 0.3:
            return self._pick.choice(_HARMFUL), -round(self._pick.uniform(0, 3), 2)
        return self._pick.choice(_MILD), round(self._pick.uniform(-3, 3), 2)

    def _steerings(self, number: int) -> list[dict[str, Any]]:
        traits = [self._trait() for _ in range(number)]
        return [{"traits": [{"name": name, "scalar": scalar}]} for name, scalar in traits]

    def _sampling(self, most: int = 120) -> dict[str, Any]:
        return {
            "max_tokens": self._pick.randint(1, most),
            "temperature": self._pick.choice([0.0, 0.8, 1.2]),
            "stream": self._pick.random() < 0.6,
        }


def _kind_of(path: str) -> AnswerKind:
    if path == COMPARE:
        return AnswerKind.COMPARED
    return AnswerKind.CHAT if path == CHAT else AnswerKind.GENERATED
