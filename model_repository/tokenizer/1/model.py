"""Triton's entry point to the tokenizer model; the model is in triton_models."""

from triton_models.adapters.tokenizer import TokenizerModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
