"""Requests that no client should send, each in a size that harms nobody who handles it well."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.soak.verdicts import Expected
from benchmarks.soak.wire import WireCall

JSON = {"content-type": "application/json"}
_REFUSED = frozenset({400, 401, 403, 404, 405, 411, 413, 414, 415, 422, 431})

GENERATE = "/api/v1/generate"
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"

_GOOD: dict[str, Any] = {"prompt": "Hi", "trait": "sarcasm", "scalar": 1.0, "max_tokens": 4}


@dataclass(frozen=True, slots=True)
class BadInput:
    """A request that is to be refused, and the address that it may be taken to name."""

    name: str
    path: str
    data: bytes
    expected: Expected


def bodies() -> dict[str, tuple[str, bytes]]:
    """Returns bodies that do not validate, by what is wrong: where each goes, and its bytes."""
    emoji = "\U0001f469‍\U0001f469‍\U0001f467"
    steering = {"traits": [{"name": "sarcasm", "scalar": 1}], "layers": [7, 8, 9]}
    return {
        "many messages without fields": (GENERATE, _json({"messages": [{}] * 3000})),
        "many messages that are numbers": (CHAT, _json({"model": "x", "messages": [0] * 3000})),
        "many unknown fields": (GENERATE, _json({**_GOOD, **{f"f{i}": 0 for i in range(2000)}})),
        "many unknown fields, OpenAI": (CHAT, _json({f"f{i}": 0 for i in range(2000)})),
        "deep lists": (GENERATE, b"[" * 20_000),
        "deep objects": (GENERATE, b'{"prompt":' * 5_000),
        "an integer of 5,000 digits": (GENERATE, b'{"prompt": "Hi", "seed": ' + b"9" * 5000 + b"}"),
        "a float beyond all": (GENERATE, b'{"prompt": "Hi", "trait": "x", "scalar": 1e999}'),
        "not a number": (GENERATE, b'{"prompt": "Hi", "trait": "sarcasm", "scalar": NaN}'),
        "half a surrogate pair": (GENERATE, b'{"prompt": "\\ud800", "trait": "x"}'),
        "no UTF-8": (GENERATE, b'{"prompt": "\xff\xfe", "trait": "x", "scalar": 1}'),
        "no JSON": (GENERATE, b"prompt=Hi"),
        "half of it": (GENERATE, _json(_GOOD)[:-9]),
        "nothing": (GENERATE, b""),
        "null": (GENERATE, b"null"),
        "an empty prompt": (GENERATE, _json({**_GOOD, "prompt": " "})),
        "an unknown trait": (GENERATE, _json({**_GOOD, "trait": "x" * 5000})),
        "a prompt longer than the context": (GENERATE, _json({**_GOOD, "prompt": "word " * 9000})),
        "a prompt beyond all": (GENERATE, _json({**_GOOD, "prompt": "x" * 300_000})),
        "a body beyond all": (GENERATE, _json({**_GOOD, "prompt": "x" * 1_200_000})),
        "true for a number": (GENERATE, _json({**_GOOD, "scalar": True})),
        "tokens below one": (GENERATE, _json({**_GOOD, "max_tokens": 0})),
        "tokens beyond all": (GENERATE, _json({**_GOOD, "max_tokens": 10**9})),
        "unknown layers": (GENERATE, _json({**_GOOD, "layers": [99]})),
        "many stop strings": (GENERATE, _json({**_GOOD, "stop": ["x"] * 5000})),
        "no steerings": ("/api/v1/compare", _json({"prompt": "Hi", "steerings": []})),
        "many steerings": (
            "/api/v1/compare",
            _json({"prompt": "Hi", "steerings": [steering] * 500}),
        ),
        "long prompts of emoji, compared": (
            "/api/v1/compare",
            _json({"prompt": emoji * 2000, "steerings": [{"traits": steering["traits"]}] * 16}),
        ),
        "a sweep of nothing": ("/api/v1/sweep", _json({"prompt": "Hi", "trait": "x"})),
        "tools": (CHAT, _json({"model": "persona", "messages": [], "tools": [{}]})),
        "an unknown model": (
            CHAT,
            _json({"model": "y", "messages": [{"role": "user", "content": "Hi"}]}),
        ),
        "too many answers": (COMPLETIONS, _json({"model": "persona", "prompt": "x", "n": 999})),
        "many prompts": (COMPLETIONS, _json({"model": "persona", "prompt": ["x"] * 5000})),
        "token ids": (COMPLETIONS, _json({"model": "persona", "prompt": [1, -2]})),
    }


def vectors() -> dict[str, tuple[str, bytes]]:
    """Returns vector files that cannot be used: a file name for each, and its bytes."""
    overlapping = overlapping_gguf(200, elements=16_384)
    return {
        "no vectors": ("x.json", b'{"trait_name": "x", "vectors": {}}'),
        "text": ("x.safetensors", b"hello"),
        "a header beyond the file": ("x.safetensors", struct.pack("<Q", 2**40) + b"{}"),
        "overlapping tensors": ("x.gguf", overlapping),
        "no zip": ("x.pt", b"\x80\x02."),
        "a format that there is not": ("x.exe", b"MZ"),
        "nested lists": ("x.json", b'{"vectors": ' + b"[" * 3000 + b"}"),
        "another model's size": ("x.json", _json({"vectors": {"1": [0.5] * 12}})),
    }


def malformed(key: str) -> dict[str, bytes]:
    """Returns what is no HTTP, or on the edge of it, by what is wrong."""
    host = b"host: x\r\n"
    generate = b"POST /api/v1/generate HTTP/1.1\r\n" + host
    bearer = f"authorization: Bearer {key}\r\n".encode()
    return {
        "64 KiB of headers, no key": generate + b"x-filler: " + b"a" * 65_000 + b"\r\n\r\n",
        "500 headers": generate + b"".join(b"x-%d: 1\r\n" % i for i in range(500)) + b"\r\n",
        "length and chunks": generate
        + bearer
        + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "two lengths": generate + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        "a length that is none": generate + b"content-length: -1\r\n\r\n",
        "chunks that are none": generate + b"transfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
        "no such method": b"BREW /api/v1/generate HTTP/1.1\r\n" + host + b"\r\n",
        "no version": b"GET /api/v1/traits\r\n\r\n",
        "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        "a line without an end": b"GET /" + b"a" * 50_000 + b" HTTP/1.1\r\n" + host + b"\r\n",
        "two keys": generate + bearer + b"x-api-key: other\r\ncontent-length: 2\r\n\r\n{}",
        "a folded header": generate + b"x-a: b\r\n c\r\ncontent-length: 2\r\n\r\n{}",
    }


def all_bad_input(key: str, admin: str) -> list[BadInput]:
    """Returns everything here, as it is on the wire, but for the request's id."""
    refused = Expected(statuses=_REFUSED)
    with_key = {"authorization": f"Bearer {key}", "x-request-id": "{id}"}
    found = [
        BadInput(name, path, WireCall("POST", path, {**JSON, **with_key}, body).encoded(), refused)
        for name, (path, body) in bodies().items()
    ]
    as_admin = {"x-api-key": admin, "x-request-id": "{id}"}
    for name, (file_name, content) in vectors().items():
        call = WireCall("PUT", f"/api/v1/traits/soak_bad?filename={file_name}", as_admin, content)
        found.append(BadInput(f"vector: {name}", call.path, call.encoded(), refused))
    for name, call in _addresses(key, admin):
        found.append(BadInput(name, call.path, call.encoded(), refused))
    in_plain_text = Expected(statuses=_REFUSED, malformed=True)
    for name, data in malformed(key).items():
        found.append(BadInput(name, GENERATE, data, in_plain_text))
    return found


def _addresses(key: str, admin: str) -> list[tuple[str, WireCall]]:
    named = {"x-request-id": "{id}"}
    with_key = {**named, "authorization": f"Bearer {key}"}
    as_admin = {**named, "x-api-key": admin}
    return [
        ("no key", WireCall("GET", "/api/v1/traits", named)),
        ("a wrong key", WireCall("GET", "/status", {**named, "x-api-key": "persona_" + "x" * 43})),
        ("a user's upload", WireCall("PUT", "/api/v1/traits/soak_bad", with_key, b"{}")),
        (
            "a path upwards",
            WireCall("PUT", "/api/v1/traits/..%2F..%2Fx?format=json", as_admin, b"{}"),
        ),
        ("a name with a line end", WireCall("DELETE", "/api/v1/traits/a%0Ab", as_admin)),
        ("no such address", WireCall("GET", "/api/v2/generate", with_key)),
        ("two slashes", WireCall("POST", "//api/v1/generate", {**JSON, **with_key}, b"{}")),
        ("no such model", WireCall("GET", "/v1/models/..%2f..%2fetc", with_key)),
    ]


def broken_keys() -> Mapping[str, str]:
    """Returns files of keys that cannot be used, by what is wrong."""
    return {
        "half of it": '[{"name": "x", "ro',
        "an integer of 5,000 digits": '[{"name": ' + "9" * 5000 + "}]",
        "deep lists": "[" * 20_000,
        "no list": '{"name": "x"}',
        "nothing": "",
        "a key twice": json.dumps([{"name": "x", "role": "user", "sha256": "0" * 64}] * 2),
    }


def chooser(inputs: list[BadInput]) -> Callable[[random.Random], BadInput]:
    """Returns a function that picks one; all come before any comes again."""
    waiting: list[BadInput] = []

    def choose(pick: random.Random) -> BadInput:
        if not waiting:
            waiting.extend(pick.sample(inputs, len(inputs)))
        return waiting.pop()

    return choose


def overlapping_gguf(count: int, elements: int) -> bytes:
    """Returns a GGUF file whose tensors, of so many float32 elements, all lie on the same bytes."""
    parts = [b"GGUF", struct.pack("<IQQ", 3, count, 0)]
    for index in range(count):
        name = f"direction.{index + 1}".encode()
        parts.append(struct.pack("<Q", len(name)) + name)
        parts.append(struct.pack("<IQIQ", 1, elements, 0, 0))
    header = b"".join(parts)
    return header + bytes(-len(header) % 32) + bytes(4 * elements)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
