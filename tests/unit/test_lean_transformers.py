"""What serving imports of transformers is enough, and leaves the rest as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import sys
from triton_models.lean_transformers import import_lean_transformers
import_lean_transformers()
from triton_models.engine.build import build_engine
from triton_models.settings import read_settings
folder, vectors = sys.argv[1:]
built = build_engine(read_settings({"MODEL_NAME": folder, "VECTORS_DIR": vectors, "DEVICE": "cpu"}))
assert all(norm > 0 for norm in built.residual_norms.values())
for name in ("torch._dynamo", "torch.distributed.tensor", "sklearn"):
    assert name not in sys.modules, name

import torch
assert torch.compiler.disable(len)("ab") == 2
assert sys.modules["torch._dynamo"].__file__
from torch.nn.attention.varlen import varlen_attn
from transformers import AutoTokenizer, Qwen2ForCausalLM
from transformers.utils import is_torch_distributed_available
assert is_torch_distributed_available()
tokens = AutoTokenizer.from_pretrained(folder)("hi", return_tensors="pt")
assert torch.isfinite(Qwen2ForCausalLM.from_pretrained(folder)(**tokens).logits).all()
"""


def test_a_process_that_serves_imports_no_compiler_until_somebody_wants_it(
    tiny_model_folder: Path, tiny_vectors_folder: Path
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tiny_model_folder), str(tiny_vectors_folder)],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
