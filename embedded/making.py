"""Makes the embedded model's folder: the package's weights dequantized, with the adapter merged."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from persona_embedded.adapter import Adapter, read_adapter
from persona_embedded.gguf_checkpoint import GGUFCheckpoint
from persona_embedded.package import RECORD_FILE, EmbeddedModelError, check_gguf, record
from triton_models.model.architecture import CONFIG_FILE, GENERATION_CONFIG_FILE, WEIGHTS_FILE

_REPORTED_EVERY = 0.25


def write_model(
    gguf: Path,
    adapter: Adapter | None,
    folder: Path,
    report: Callable[[float], None] = lambda _: None,
) -> None:
    """Writes a model as the hub would have it, in bfloat16.

    Args:
        gguf: The weights.
        adapter: What is added to them, if anything.
        folder: The folder, which is there.
        report: Takes the share of the weights that is done, four times.
    """
    checkpoint = GGUFCheckpoint(gguf)
    tensors: dict[str, Tensor] = {}
    reported = 0.0
    for name, values in checkpoint.tensors():
        weight = torch.tensor(values)
        tensors[name] = (adapter.merge(name, weight) if adapter else weight).bfloat16()
        done = len(tensors) / checkpoint.num_tensors
        if done >= reported + _REPORTED_EVERY:
            reported += _REPORTED_EVERY
            report(reported)
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / WEIGHTS_FILE).chmod(0o644)  # for the user that a container serves as
    config = checkpoint.config()
    ends = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(folder / CONFIG_FILE, config)
    _write_json(folder / GENERATION_CONFIG_FILE, ends)
    checkpoint.tokenizer().save_pretrained(folder, save_jinja_files=False)


def make_model(
    gguf: Path, adapter: Path, folder: Path, say: Callable[[str], None] = lambda _: None
) -> None:
    """Makes the embedded model in a folder beside the wanted one, and puts it in its place.

    Raises:
        EmbeddedModelError: The GGUF file is not the package's, or the adapter is missing or broken.
        OSError: The folder cannot be written.
    """
    check_gguf(gguf)
    try:
        added = read_adapter(adapter)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise EmbeddedModelError(
            f"the adapter in {adapter} cannot be read ({error}): restore it with "
            f"'git checkout {adapter}'"
        ) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        made = Path(beside) / "made"
        made.mkdir(mode=0o755)
        write_model(gguf, added, made, lambda done: say(f"{done:.0%} of the weights"))
        _write_json(made / RECORD_FILE, record(adapter))
        if folder.exists():
            folder.rename(Path(beside) / "replaced")
        made.rename(folder)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
