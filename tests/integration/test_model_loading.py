"""What loading a model brings along, and takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.tiny_model import make_tokenizer
from triton_models.model.tokenizer import load_tokenizer
from triton_models.settings import DEMO_MODEL_FOLDER

LOAD = """
import json, resource, sys
from pathlib import Path
from triton_models.engine.build import build_engine
from triton_models.settings import ServerSettings
settings = ServerSettings(model_name=sys.argv[1], vectors=Path(sys.argv[2]), device="cpu")
engine = build_engine(settings).engine
engine.start()
engine.stop(0)
print(json.dumps(sorted(sys.modules)))
"""


def test_the_engine_imports_no_model_of_transformers_and_no_compiler(tmp_path: Path) -> None:
    """A model that has died is back once its process has imported what it needs."""
    command = [sys.executable, "-c", LOAD, str(DEMO_MODEL_FOLDER), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(json.loads(ran.stdout.splitlines()[-1]))
    assert "triton_models.model.transformer" in modules
    heavy = {"torch._dynamo", "torch.distributed.tensor", "sklearn", "transformers.modeling_utils"}
    assert not modules & heavy
    assert not any(".modeling_" in name for name in modules)


@pytest.mark.parametrize("which", ["demo", "tiny"])
def test_a_tokenizer_is_the_one_that_transformers_would_choose(which: str, tmp_path: Path) -> None:
    folder = DEMO_MODEL_FOLDER
    if which == "tiny":
        folder = tmp_path
        make_tokenizer().save_pretrained(folder)
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    text = "<|im_start|>user\nWhat's new, naïve  日本 👩‍👩‍👧?\n\n<|im_end|>\n"
    assert ours(text, add_special_tokens=False) == theirs(text, add_special_tokens=False)
    assert ours.get_vocab() == theirs.get_vocab()
    assert (ours.eos_token_id, ours.chat_template) == (theirs.eos_token_id, theirs.chat_template)
    assert ours.all_special_ids == theirs.all_special_ids
