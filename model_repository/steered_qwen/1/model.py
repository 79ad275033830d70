"""Triton's entry point to the steered_qwen model; the model is in triton_models."""

from triton_models.adapters.steered_qwen import SteeredQwenModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
