"""Triton's entry point to the steered_qwen model; the model is in triton_models."""

from triton_models.lean_transformers import import_lean_transformers

# Before anything else imports transformers.
import_lean_transformers()

from triton_models.adapters.steered_qwen import SteeredQwenModel as TritonPythonModel  # noqa: E402

__all__ = ["TritonPythonModel"]
