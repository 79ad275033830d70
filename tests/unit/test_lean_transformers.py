"""What serving imports of transformers is enough, and leaves the rest as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import sys
from triton_models.lean_transformers import import_lean_transformers
import_lean_transformers()
import triton_models.adapters.description, triton_models.engine.build
from transformers import AutoTokenizer, Qwen2ForCausalLM
for name in ("torch._dynamo", "torch.distributed.tensor", "sklearn", "sympy"):
    assert name not in sys.modules, name
import torch
folder = sys.argv[1]
tokens = AutoTokenizer.from_pretrained(folder)("hi", return_tensors="pt")
lean = Qwen2ForCausalLM.from_pretrained(folder)(**tokens).logits
assert torch.isfinite(lean).all()
assert torch.compiler.disable(len)("ab") == 2
assert sys.modules["torch._dynamo"].__file__
from transformers.utils import is_torch_distributed_available
assert is_torch_distributed_available()
"""


def test_a_process_that_serves_imports_no_compiler_until_somebody_wants_it(
    tiny_model_folder: Path,
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tiny_model_folder)], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
