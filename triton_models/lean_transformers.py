"""Imports the parts of transformers that serving uses, and not what those import for nothing.

Starting a model is mostly importing, and after a crash users wait for it. transformers' module of
any model imports torch's compiler and distributed tensors, for decorators of functions and for
classes that only training and other ways of serving use; and scikit-learn, where it happens to be
installed. Without them the import takes half the time.

The process that serves imports transformers and makes its model with these absent; afterwards they
can be imported as ever, as variable-length attention on a GPU does. transformers and torch are
pinned, and a test imports and runs a model this way.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from unittest.mock import patch

_COMPILER = "torch._dynamo"
_MASKING = f"{_COMPILER}._trace_wrapped_higher_order_op"
_MARKS = ("disable", "allow_in_graph", "assume_constant_result")
"""Decorators that tell the compiler something; without one they change nothing."""

_ABSENT = ("is_torch_distributed_available", "is_sklearn_available")
"""How transformers asks for what is not needed."""


def import_lean_transformers() -> None:
    """Imports what the engine needs of transformers, unless the compiler has been imported."""
    if _COMPILER in sys.modules:
        return
    import torch  # noqa: F401 - so that nothing of torch itself is imported without its compiler

    with without_compiler():
        utils = importlib.import_module("transformers.utils")
        asked = [(module, name) for module in (utils, utils.import_utils) for name in _ABSENT]
        with contextlib.ExitStack() as patches:
            for module, name in asked:
                patches.enter_context(patch.object(module, name, lambda: False))
            importlib.import_module("transformers.models.auto")
            importlib.import_module("transformers.models.qwen2.modeling_qwen2")


@contextlib.contextmanager
def without_compiler() -> Iterator[None]:
    """Puts a stand-in in the compiler's place, which knows no more than is asked for in here.

    Besides importing a model, making one asks for it: torch computes the shapes of what is not yet
    there with functions that the compiler is told to leave alone. Nothing happens where the
    compiler has been imported.
    """
    if _COMPILER in sys.modules:
        yield
        return
    compiler, masking = ModuleType(_COMPILER), ModuleType(_MASKING)
    for mark in _MARKS:
        setattr(compiler, mark, _unmarked)
    masking.TransformGetItemToIndex = _late_transform  # type: ignore[attr-defined]
    stand_ins = {_COMPILER: compiler, _MASKING: masking}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


def _unmarked(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    return _unmarked if function is None else function


def _late_transform() -> Any:
    """Makes what the masks of other attention functions are computed in, with the compiler."""
    return importlib.import_module(_MASKING).TransformGetItemToIndex()
