"""The steps beside the model need no library of models, which takes longer than all their rest."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What only a process of Triton's has, and nothing calls here.
PROGRAM = """
import sys, types
sys.modules["triton_python_backend_utils"] = types.ModuleType("triton_python_backend_utils")
import triton_models.adapters.{name}
from triton_models.model.folder import find_model
from triton_models.model.tokenizer import load_tokenizer
from triton_models.settings import ServerSettings
load_tokenizer(find_model(ServerSettings(model_name="demo")))
sys.exit(" ".join({{"torch", "transformers", "huggingface_hub"}} & sys.modules.keys()) or 0)
"""


@pytest.mark.parametrize("name", ["tokenizer", "detokenizer"])
def test_a_step_beside_the_model_imports_no_library_of_models(name: str) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM.format(name=name)], check=True)
