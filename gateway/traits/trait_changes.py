"""Changing a trait: its vector's file first, then waiting until the engine has noticed.

The engine notices files, nothing else: so a gateway's change, a copy by hand and a mounted volume
all take the same way, and every engine that watches the folder follows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.errors import (
    ConflictError,
    GatewayError,
    TraitNotFoundError,
    UnavailableError,
    UnprocessableError,
)
from gateway.traits.vector_files import VectorStore, WrittenFile
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError
from triton_models.vectors.registry import ModelFit

Description = Mapping[str, Any]

_LOOK_SECONDS = 0.1


class TraitFiles:
    """Puts and removes traits, one at a time; the engine may take `patience` seconds to notice."""

    def __init__(
        self, store: VectorStore, describe: Callable[[], Awaitable[Description]], patience: float
    ) -> None:
        self._store = store
        self._describe = describe
        self._patience = patience
        self._lock = asyncio.Lock()

    async def put(self, vector: PersonaVector) -> bool:
        """Makes a vector its trait's, and waits until the engine steers by it.

        The trait is never without a vector: if it comes from another file, that one is removed
        only after the engine has read the new one, which takes its place then.

        Returns:
            Whether the trait is new.

        Raises:
            GatewayError: It was not done, or the engine has not noticed it in time.
        """
        trait = vector.trait_name
        async with self._lock:
            before = await self._describe()
            _check_fit(vector, before)
            source = self._store.source_of(trait)
            _check_free(source, trait, before)
            others = [each for each in _sources(trait, before) if each != source]
            written = await asyncio.to_thread(self._store.write, vector)
            if others:
                await self._replace(trait, written, others)
            if not await self._wait(written, lambda now: _is_in_use(trait, written, now)):
                raise UnavailableError(self._not_noticed(f"{source} is written"))
            return trait not in before["traits"]

    async def delete(self, trait: str) -> None:
        """Removes a trait with all files that would give it, and waits until the engine has.

        Raises:
            TraitNotFoundError: There is no such trait.
            GatewayError: It was not done, or the engine has not noticed it in time.
        """
        async with self._lock:
            now = await self._describe()
            if trait not in now["traits"]:
                raise unknown_trait(trait, now)
            give_up = time.monotonic() + self._patience
            removed: set[str] = set()
            while trait in now["traits"]:
                # Again and again, since another file may have taken the removed one's place.
                for source in _sources(trait, now):
                    if source not in removed:
                        await asyncio.to_thread(self._store.remove, source)
                        removed.add(source)
                if time.monotonic() > give_up:
                    what = f"the files of {trait} are removed"
                    raise UnavailableError(self._not_noticed(what))
                await asyncio.sleep(_LOOK_SECONDS)
                now = await self._describe()

    async def _replace(self, trait: str, written: WrittenFile, others: list[str]) -> None:
        """Removes the files that a trait came from once the engine knows the new one."""

        def is_known(now: Description) -> bool:
            return _is_in_use(trait, written, now) or _stands_by(written, now)

        noticed = await self._wait(written, is_known)
        try:
            if not noticed:
                raise UnavailableError(self._not_noticed("nothing is changed"))
            for source in others:
                await asyncio.to_thread(self._store.remove, source)
        except GatewayError:
            if not written.replaced:
                await asyncio.to_thread(self._store.remove, written.source)
            raise

    async def _wait(self, written: WrittenFile, noticed: Callable[[Description], bool]) -> bool:
        """Waits until the engine's description says what it should; false if it is too late.

        Raises:
            ConflictError: Somebody else has changed the file meanwhile.
        """
        give_up = time.monotonic() + self._patience
        while True:
            try:
                if noticed(await self._describe()):
                    return True
            except UnavailableError:
                pass  # it may be back in time
            if not await asyncio.to_thread(self._store.is_current, written):
                raise ConflictError(
                    f"{written.source} was changed by somebody else at the same time: theirs counts"
                )
            if time.monotonic() > give_up:
                return False
            await asyncio.sleep(_LOOK_SECONDS)

    def _not_noticed(self, done: str) -> str:
        return (
            f"{done}, but the model server has not noticed it within {self._patience:g} s: check "
            "that VECTORS_DIR is the same folder for the gateway and for Triton, and the problems "
            "in /status"
        )


def unknown_trait(name: str, description: Description) -> TraitNotFoundError:
    """Returns the error for an unknown trait; it names the known ones."""
    there_are = ", ".join(sorted(description["traits"])) or "none"
    return TraitNotFoundError(f"unknown trait {name!r}: the traits are {there_are}")


def _check_fit(vector: PersonaVector, description: Description) -> None:
    info = description["model_info"]
    try:
        ModelFit(description["model"], info["hidden_size"], info["num_layers"]).check(vector)
    except VectorFileError as error:
        raise UnprocessableError(f"the vector does not fit the model: {error}") from error


def _check_free(source: str, trait: str, description: Description) -> None:
    for other, fields in description["traits"].items():
        if fields["source"] == source and other != trait:
            raise ConflictError(
                f"the file {source} holds the trait {other!r}: give that file another name first"
            )


def _sources(trait: str, description: Description) -> list[str]:
    """Returns the files that give a trait, the one in use last."""
    in_use = description["traits"].get(trait)
    sources = [
        problem["source"] for problem in description["problems"] if problem["trait"] == trait
    ]
    if in_use is not None:
        sources = [source for source in sources if source != in_use["source"]]
        sources.append(in_use["source"])
    return sources


def _is_in_use(trait: str, written: WrittenFile, description: Description) -> bool:
    fields = description["traits"].get(trait)
    return bool(
        fields
        and fields["source"] == written.source
        and fields["sha256"] == written.sha256
        and fields["state"] == "loaded"
    )


def _stands_by(written: WrittenFile, description: Description) -> bool:
    """Whether the engine would use a file if its trait did not come from another one."""
    return any(
        problem["source"] == written.source and problem["sha256"] == written.sha256
        for problem in description["problems"]
    )
