"""Triton's entry point to the detokenizer model; the model is in triton_models."""

from triton_models.adapters.detokenizer import DetokenizerModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
