"""What is fuzzed: each target takes any bytes, and lets nothing out but what it promises."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from gateway.protection.configuration import ConfigurationError
from gateway.protection.keys import parse_keys
from gateway.protection.policy import parse_policy
from launcher.settings import ROOT
from persona_client import calls, protocol
from persona_client.errors import PersonaError
from persona_research.definitions import (
    TraitDefinitionError,
    read_candidates,
    read_trait_definition,
)
from persona_research.judges import JudgeError
from persona_research.judges.completions import read_completion
from persona_research.judges.rubric import parse_score
from tests.fuzz import formats, http_bodies
from triton_models.contract import tensors
from triton_models.contract.errors import RequestError
from triton_models.contract.prompt import prompt_of
from triton_models.contract.request import GenerationDefaults, parse_generation_request
from triton_models.vectors.formats import VECTOR_SUFFIXES, encode_vector, read_vector_bytes
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

CORPUS = Path(__file__).with_name("corpus")
MAX_LENGTH = 4096
"""Bytes of an input: short ones find what can be found, and faster."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something that parses.

    Attributes:
        name: What it is called.
        run: Parses bytes; what it raises is a defect.
        seeds: Inputs that are right, or nearly, to begin with.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]

    def kept(self) -> list[bytes]:
        """Returns the inputs that were found to be worth keeping."""
        folder = CORPUS / self.name
        return [path.read_bytes() for path in sorted(folder.glob("*")) if path.is_file()]


def _events(content: bytes) -> None:
    """A stream of one, two or many pieces, read as each kind of answer."""
    size = max(1, content[0]) if content else 1
    text = content[1:].decode(errors="replace")
    for call in (
        calls.generation("Hi", None, 0.0, {}).stream,
        calls.comparison("Hi", [{"sarcasm": 1.0}], True, {}).stream,
        calls.sweep("Hi", {}, False, {}).stream,
    ):
        reader: Any = call.reader()
        with contextlib.suppress(PersonaError):
            for start in range(0, len(text), size):
                for _ in reader.feed(text[start : start + size]):
                    pass
            reader.check_ended()
            assert reader.whole is not None


def _answers(content: bytes) -> None:
    """The body of a success, and of an error."""
    request = httpx.Request("POST", "http://gateway/api/v1/generate")
    for call in (
        calls.generation("Hi", None, 0.0, {}).call,
        calls.comparison("Hi", [{"sarcasm": 1.0}], True, {}).call,
        calls.traits(),
        calls.status(),
    ):
        reading: Any = call
        with contextlib.suppress(PersonaError):
            reading.read(httpx.Response(200, content=content, request=request))
    assert isinstance(protocol.read_error(503, {"Retry-After": "1"}, content), PersonaError)


def _definition(content: bytes) -> None:
    """Both kinds of definition, under names that say a trait, and one that says none."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("sarcasm_trait.json", "sarcasm.json", "_trait.json"):
            path = Path(folder, name)
            path.write_bytes(content)
            for read in (read_trait_definition, read_candidates):
                with contextlib.suppress(TraitDefinitionError):
                    definition: Any = read(path)
                    json.dumps(asdict(definition), ensure_ascii=False).encode()


def _configuration(parse: Callable[[str], Any], content: bytes) -> None:
    with contextlib.suppress(ConfigurationError):
        parse(content.decode(errors="replace"))


def _triton_request(content: bytes) -> None:
    """Tensors: numbers from the first bytes, texts from the rest, split at each zero byte."""
    numbers, *texts = content.split(b"\0")
    decoded = [text.decode(errors="replace") for text in texts]
    padded = numbers + bytes(-len(numbers) % 8)
    values: dict[str, Sequence[Any]] = {}
    for index, spec in enumerate(tensors.PERSONA_INPUTS):
        if spec.datatype == "BYTES":
            if index < len(decoded) and decoded[index]:
                values[spec.name] = decoded[index : index + (1 if spec.length == 1 else 3)]
        elif padded:
            raw = np.frombuffer(padded, dtype=tensors.NUMPY_TYPES[spec.datatype])
            start = index % max(1, len(raw))
            values[spec.name] = raw[start : start + (1 if spec.length == 1 else 3)].tolist()
    with contextlib.suppress(RequestError):
        parse_generation_request(values, GenerationDefaults())
    with contextlib.suppress(RequestError):
        prompt_of(values)


def _json_in_tensors(content: bytes) -> None:
    """The tensors that hold JSON."""
    text = content.decode(errors="replace")
    with contextlib.suppress(RequestError):
        parse_generation_request({"steering": [text]}, GenerationDefaults())
    with contextlib.suppress(RequestError):
        parse_generation_request({"sampling_parameters": [text]}, GenerationDefaults())
    with contextlib.suppress(RequestError):
        prompt_of({"messages": [text]})
    with contextlib.suppress(RequestError):
        prompt_of({"text_input": ["hi"], "tools": [text]})


def _judges_reply(content: bytes) -> None:
    text = content.decode(errors="replace")
    score = parse_score(text)
    assert score is None or 0 <= score <= 100
    with contextlib.suppress(JudgeError):
        read_completion(httpx.Response(200, content=content))


def _vector(suffix: str, content: bytes) -> None:
    with contextlib.suppress(VectorFileError):
        vector = read_vector_bytes(content, f"x{suffix}")
        for values in vector.blocks.values():
            assert values.dtype == np.float32
            assert np.isfinite(values).all()


VECTOR = PersonaVector(
    "dry",
    "tiny",
    {block: np.random.default_rng(block).normal(size=4).astype(np.float32) for block in range(3)},
    {"selected_layers": [1]},
)

_CHUNK = b'event: chunk\ndata: {"text":"Hi","tokens_generated":1,"index":0}\n\n'
_DONE = (
    b'event: done\ndata: {"success":true,"response":"Hi","trait":null,"scalar":0.0,"seed":1,'
    b'"tokens_generated":1,"finish_reason":"stop","prompt_tokens":3}\n\n'
)
_ERROR = b'event: error\ndata: {"success":false,"error":"away","code":"unavailable"}\n\n'
_PERSONA_VECTORS = (
    b'{"instruction": [{"pos": "Be dry.", "neg": "Be warm."}], "questions": ["Why?"],'
    b' "eval_prompt": "{question} {answer}", "cues": {"positive": ["dry"], "negative": ["warm"]}}'
)
_STEERING = (
    b'{"traits": [{"name": "a", "scalar": 1.5, "layers": [1], "positions": "all"}], "operations": '
    b'[{"trait": "a", "kind": "cap", "value": 90, "unit": "percentile", "strength": 0.5}], "when": '
    b'{"trait": "a", "above": 1, "layer": 0}, "window": {"from": 0, "to": 9, "fade": 3}}'
)
_SAMPLING = b'{"temperature": 0.5, "top_k": "5", "seed": 1, "stop": ["a"], "max_tokens": 8.0}'
_MESSAGES = b'[{"role": "system", "content": "x"}, {"role": "user", "content": "Hi"}]'


def _files(*paths: str) -> tuple[bytes, ...]:
    return tuple((ROOT / path).read_bytes() for path in paths)


TARGETS = {
    target.name: target
    for target in (
        Target("events", _events, tuple(b"\xff" + each for each in (_CHUNK + _DONE, _ERROR))),
        Target("answers", _answers, (_DONE.split(b"data: ")[1], _ERROR.split(b"data: ")[1])),
        Target(
            "definition",
            _definition,
            (*_files("data/prompts/sarcasm_trait.json"), _PERSONA_VECTORS),
        ),
        Target(
            "keys",
            partial(_configuration, parse_keys),
            (b'[{"name": "a", "role": "user", "sha256": "' + b"0" * 64 + b'"}]',),
        ),
        Target(
            "policy", partial(_configuration, parse_policy), _files("deploy/policy.example.json")
        ),
        Target("triton_request", _triton_request, (b"\1" * 32 + b"\0Hi\0\0sarcasm\0all",)),
        Target("json_in_tensors", _json_in_tensors, (_SAMPLING, _MESSAGES, _STEERING)),
        Target(
            "judges_reply",
            _judges_reply,
            (b"Score: 85/100", b"REFUSAL", b'{"choices": [{"message": {"content": "7"}}]}'),
        ),
        Target("format", formats.follow, formats.SEEDS),
        Target("http_body", http_bodies.post, http_bodies.SEEDS),
        *(
            Target(f"vector{suffix}", partial(_vector, suffix), (encode_vector(VECTOR, suffix),))
            for suffix in VECTOR_SUFFIXES
        ),
    )
}
