"""Where kernels run in tests: on a GPU, or without one in the Triton language's interpreter."""

from __future__ import annotations

import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# The interpreter computes with numpy, which speaks up where a GPU is silent.
QUIET = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.runtime.interpreter")
