"""A model read from a GGUF file is the model that was written into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from persona_embedded.gguf_checkpoint import GGUFCheckpoint, GGUFCheckpointError
from persona_embedded.making import write_model
from persona_embedded.package import EmbeddedModelError, find_gguf
from tests.unit.embedded.small_gguf import SPECIAL, TEMPLATE, TOKENS, small_llama, write_gguf
from triton_models.model.loading import load_model
from triton_models.settings import ServerSettings


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[LlamaForCausalLM, Path]:
    """A model and its file."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    model = small_llama()
    write_gguf(model, path)
    return model, path


@pytest.fixture(scope="module")
def gguf(written: tuple[LlamaForCausalLM, Path]) -> Path:
    return written[1]


def test_its_logits_are_those_of_the_model_in_the_file(
    written: tuple[LlamaForCausalLM, Path],
) -> None:
    model, path = written
    read = small_llama()
    tensors = {name: torch.tensor(values) for name, values in GGUFCheckpoint(path).tensors()}
    assert read.load_state_dict(tensors, strict=False).missing_keys == ["lm_head.weight"]
    ids = torch.arange(40)[None] % len(TOKENS)
    torch.testing.assert_close(read(ids).logits, model(ids).logits, rtol=0, atol=0)


def test_what_is_written_is_a_model_of_the_hub_and_of_the_server(
    gguf: Path, tmp_path: Path
) -> None:
    shares: list[float] = []
    write_model(gguf, None, tmp_path, shares.append)
    theirs: Any = LlamaForCausalLM.from_pretrained(tmp_path)
    assert theirs.config.rope_parameters["rope_theta"] == 100_000.0
    assert theirs.config.rms_norm_eps == 1e-5
    assert theirs.dtype is torch.bfloat16
    ours = load_model(tmp_path, ServerSettings(device="cpu"))
    assert ours.model.architecture.family == "llama"
    assert ours.end_ids == (2,)
    assert ours.context_length == 128
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_the_tokenizer_merges_and_keeps_digits_apart(gguf: Path, tmp_path: Path) -> None:
    write_model(gguf, None, tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    ids = tokenizer("the the 12 ü<|im_end|>")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids)[:7] == ["t", "he", "Ġthe", "Ġ", "1", "2", "Ġ"]
    assert tokenizer.decode(ids) == "the the 12 ü<|im_end|>"
    assert sorted(tokenizer.all_special_ids) == [0, 1, 2]
    assert tuple(tokenizer.convert_ids_to_tokens([0, 1, 2])) == SPECIAL
    assert tokenizer.chat_template == TEMPLATE


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    write_gguf(small_llama(), tmp_path / "other.gguf", architecture="qwen2")
    with pytest.raises(GGUFCheckpointError, match="'qwen2', and not 'llama'"):
        GGUFCheckpoint(tmp_path / "other.gguf")


@pytest.mark.slow
def test_smollm2_is_what_transformers_makes_of_it() -> None:
    pytest.importorskip("accelerate", reason="transformers reads GGUF files with accelerate")
    try:
        path = find_gguf()
    except EmbeddedModelError as error:
        pytest.skip(str(error))
    theirs = LlamaForCausalLM.from_pretrained(path.parent, gguf_file=path.name).state_dict()
    for name, values in GGUFCheckpoint(path).tensors():
        torch.testing.assert_close(torch.tensor(values), theirs[name], rtol=0, atol=0)
