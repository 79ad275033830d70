"""The hash of a model's weights: the same however they are stored, another after training."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from triton_models.model.weights_hash import weights_sha256


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "embedding": torch.randn(300, 16, generator=generator),
        "norm": torch.randn(16, generator=generator),
    }


def hash_of(folder: Path, found: dict[str, torch.Tensor], **metadata: str) -> str:
    folder.mkdir()
    save_file(found, folder / "model.safetensors", metadata or None)
    return weights_sha256(folder)


def test_it_does_not_depend_on_how_tensors_are_spread_over_files(tmp_path: Path) -> None:
    whole = hash_of(tmp_path / "whole", tensors(), format="pt")
    shards = tmp_path / "shards"
    shards.mkdir()
    names = {name: f"{place}.safetensors" for place, name in enumerate(tensors())}
    for name, file in names.items():
        save_file({name: tensors()[name]}, shards / file)
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert weights_sha256(shards) == whole
    assert len(whole) == 64


def test_another_tensor_type_or_name_is_another_model(tmp_path: Path) -> None:
    renamed = {f"{name}.weight": tensor for name, tensor in tensors().items()}
    trained = {name: tensor + 1e-3 for name, tensor in tensors().items()}
    reshaped = {name: tensor.flatten() for name, tensor in tensors().items()}
    halved = {name: tensor.half() for name, tensor in tensors().items()}
    small = {**tensors(), "norm": tensors()["norm"] * torch.tensor([1.0] * 15 + [1.01])}
    cases = {"as_it_was": tensors(), "renamed": renamed, "trained": trained}
    cases |= {"reshaped": reshaped, "halved": halved, "one_number_of_a_norm": small}
    hashes = [hash_of(tmp_path / name, found) for name, found in cases.items()]
    assert len(set(hashes)) == len(cases)
