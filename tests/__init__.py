"""The project's tests."""

import os

import torch

if not torch.cuda.is_available():
    # GPU kernels run in their compiler's interpreter, which must be told before it is imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")
