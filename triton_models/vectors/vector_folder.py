"""The vectors of a folder whose files may change at any time and be half written."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

from triton_models.vectors.folder_look import Look, Signature, signature_of, take_look
from triton_models.vectors.formats import read_vector
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError
from triton_models.vectors.registry import ModelFit, Problem, ProblemState, VectorRegistry

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _File:
    """The state of a file: its last valid vector, and what is wrong with its current content."""

    signature: Signature
    vector: PersonaVector | None
    error: str = ""


class VectorFolder:
    """Follows the changes of a folder of vector files, which may be missing. Not thread-safe.

    A change (a new file, new content or a removal) counts once two scans in a row have seen the
    same: so a file that is being written is not read, and one that is being renamed or replaced
    does not disappear before its replacement is there.
    """

    def __init__(self, folder: Path, fit: ModelFit) -> None:
        self._folder = folder
        self._fit = fit
        self._look: Look | None = None
        self._files: dict[str, _File] = {}
        self._registry = VectorRegistry({}, {}, (), model=fit.model)

    def refresh(self) -> VectorRegistry:
        """Scans the folder, reads what has changed, and returns the vectors.

        The first call reads everything at once, since there are no earlier vectors to use instead.
        """
        before, look = self._look, take_look(self._folder, self._look.files if self._look else {})
        self._look = look
        changed = before is None or before.problems != look.problems
        for source in sorted(self._files.keys() | look.files.keys()):
            known, signature = self._files.get(source), look.files.get(source)
            is_new = signature != (known.signature if known else None)
            if is_new and (before is None or before.files.get(source) == signature):
                changed = self._take(source, signature) or changed
        if changed:
            self._registry = self._snapshot(look)
        return self._registry

    def _take(self, source: str, signature: Signature | None) -> bool:
        """Reads a changed file or drops a removed one; false if it changed again meanwhile."""
        if signature is None:
            del self._files[source]
            return True
        file = self._read(source, signature)
        try:
            unchanged = signature_of(self._folder / source) == signature
        except OSError:
            unchanged = False
        if unchanged:
            self._files[source] = file
        return unchanged

    def _read(self, source: str, signature: Signature) -> _File:
        try:
            vector = read_vector(self._folder / source)
            self._fit.check(vector)
        except VectorFileError as error:
            reason = str(error)
        except Exception as error:
            # An unforeseen error must not prevent the other files from being read.
            logger.exception("reading the vector file %s failed", source)
            reason = f"cannot be read: {error!r}"
        else:
            logger.info("the vector file %s is loaded", source)
            return _File(signature, dataclasses.replace(vector, source=source))
        logger.warning("the vector file %s cannot be used: %s", source, reason)
        known = self._files.get(source)
        return _File(signature, known.vector if known else None, reason)

    def _snapshot(self, look: Look) -> VectorRegistry:
        in_use = {trait: vector.source for trait, vector in self._registry.vectors.items()}
        usable = {source: file.vector for source, file in self._files.items()}

        def others_last(source: str) -> tuple[bool, str]:
            vector = usable[source]
            return vector is None or in_use.get(vector.trait_name) != source, source

        vectors: dict[str, PersonaVector] = {}
        problems = list(look.problems)
        # Of two files with the same trait the one in use stays, else the first one is used.
        for source in sorted(self._files, key=others_last):
            vector, error = usable[source], self._files[source].error
            trait = vector.trait_name if vector else ""
            first = vectors.setdefault(trait, vector) if vector else None
            if error:
                is_kept = first is not None and first.source == source
                state: ProblemState = "kept the version loaded before" if is_kept else "not used"
                problems.append(Problem(source, error, state, trait))
            elif vector and first and first.source != source:
                reason = f"the trait {trait!r} already comes from {first.source}"
                problems.append(Problem(source, reason, trait=trait, sha256=vector.sha256))
        return VectorRegistry(
            vectors=dict(sorted(vectors.items())),
            warnings={trait: self._fit.warnings(vector) for trait, vector in vectors.items()},
            problems=tuple(sorted(problems, key=lambda problem: problem.source)),
            kept=frozenset(
                trait for trait, vector in vectors.items() if self._files[vector.source].error
            ),
            model=self._fit.model,
            residual_norms=self._fit.residual_norms,
        )
