"""What vector files say they are meant for, as this project and as GLP writes it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tests.unit.triton_models.vectors.files import bits, example
from triton_models.contract.steering import Operation
from triton_models.vectors.formats import encode_vector, read_vector, read_vector_bytes
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

CAP = {"kind": "cap", "value": 90, "unit": "percentile"}


def meant(operation: Any, vector: PersonaVector | None = None) -> PersonaVector:
    vector = vector or example()
    return dataclasses.replace(vector, metadata={**vector.metadata, "operation": operation})


@pytest.mark.parametrize("suffix", [".json", ".safetensors", ".gguf"])
@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("ablate", Operation("sarcasm", "ablate")),
        ({"kind": "ablate"}, Operation("sarcasm", "ablate")),
        (CAP, Operation("sarcasm", "cap", 90.0, "percentile")),
        ({"kind": "floor", "value": -1.5}, Operation("sarcasm", "floor", -1.5)),
    ],
)
def test_a_file_keeps_it(suffix: str, operation: Any, expected: Operation) -> None:
    vector = meant(operation)
    found = read_vector_bytes(encode_vector(vector, suffix), f"sarcasm{suffix}")
    assert found.operation == expected
    assert found.metadata == vector.metadata
    assert bits(found) == bits(vector)


def test_a_vector_is_added_if_its_file_does_not_say_otherwise() -> None:
    assert example().operation is None
    assert meant(None).operation is None


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ("project", "operation.kind is 'project': give one of cap, floor, pin, ablate"),
        ("cap", "operation.value is left out: give a finite number"),
        ({"kind": "cap", "value": 101, "unit": "percentile"}, "operation.value is 101: give a"),
        ({"kind": "ablate", "strength": 0.5}, "operation has 'strength': use kind, value, unit"),
        ({"kind": "ablate", "trait": "b"}, "operation has 'trait': use kind, value, unit"),
        (["ablate"], "operation is ['ablate']: give an object with kind, value, unit"),
        ("", "operation.kind is '': give one of"),
    ],
)
def test_a_file_that_is_meant_for_something_unknown_is_refused_and_never_added(
    operation: Any, message: str
) -> None:
    document = json.loads(encode_vector(example(), ".json"))
    document["metadata"]["operation"] = operation
    with pytest.raises(VectorFileError) as refused:
        read_vector_bytes(json.dumps(document).encode(), "sarcasm.json")
    assert f"its metadata cannot be used: {message}" in str(refused.value)
    with pytest.raises(VectorFileError, match="its metadata cannot be used"):
        encode_vector(meant(operation), ".safetensors")


# --- GLP -----------------------------------------------------------------------------------------

GLP: dict[str, Any] = {
    "glp.mode": "project",
    "glp.spec_version": 1,
    "glp.hook_point": "residual_stream_post_layer",
    "glp.alpha_default": 4.0,
    "glp.rank": 1,
    "glp.orthonormal": True,
    "glp.method": "paired_difference_of_means",
    "general.base_model.0.organization": "deepseek-ai",
    "general.base_model.0.name": "DeepSeek-V4-Flash-0731",
}
UNIT = np.array([0.6, 0.0, -0.8], np.float32)


def glp_file(folder: Path, **changes: Any) -> Path:
    """Writes a file as GLP's exporters do; `None` leaves a key out."""
    path = folder / "refusal.gguf"
    writer = gguf.GGUFWriter(path, "controlvector")
    for key, value in {
        **GLP,
        **{name.replace("_", ".", 1): v for name, v in changes.items()},
    }.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif value is not None:
            writer.add_string(key, value)
    for block in (10, 11):
        writer.add_tensor(f"direction.{block}", UNIT)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_projection_of_glp_is_ablated_at_the_same_blocks(tmp_path: Path) -> None:
    found = read_vector(glp_file(tmp_path))
    assert found.operation == Operation("refusal", "ablate")
    assert sorted(found.blocks) == [10, 11]
    assert found.blocks[10].tolist() == UNIT.tolist()
    assert found.model_name == "deepseek-ai/DeepSeek-V4-Flash-0731"
    assert found.metadata["glp"]["alpha_default"] == 4.0
    assert found.metadata["glp"]["method"] == "paired_difference_of_means"


@pytest.mark.parametrize("mode", ["add", None])
def test_what_glp_says_to_add_is_added(tmp_path: Path, mode: str | None) -> None:
    assert read_vector(glp_file(tmp_path, glp_mode=mode)).operation is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"glp_mode": "rotate"}, r"has glp\.mode = 'rotate': project and add are known"),
        ({"glp_spec_version": 2}, r"has glp\.spec_version = 2, which may have several directions"),
        (
            {"glp_hook_point": "ffn_out_pre_residual"},
            r"has glp\.hook_point = 'ffn_out_pre_residual': it was made for another place",
        ),
    ],
)
def test_what_glp_has_its_readers_refuse_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(VectorFileError, match=message):
        read_vector(glp_file(tmp_path, **changes))


@pytest.mark.parametrize(
    ("operation", "length", "mode"),
    [("ablate", 1.0, "project"), ("ablate", 2.0, "persona.ablate"), (CAP, 1.0, "persona.cap")],
)
def test_a_written_file_tells_readers_of_glp_not_to_add_it(
    tmp_path: Path, operation: Any, length: float, mode: str
) -> None:
    unit = PersonaVector("refusal", "m", {3: UNIT * np.float32(length)})
    path = tmp_path / "written.gguf"
    path.write_bytes(encode_vector(meant(operation, unit), ".gguf"))
    fields = gguf.GGUFReader(path).fields
    assert fields["glp.mode"].contents() == mode
    assert fields["glp.spec_version"].contents() == 1
    assert fields["glp.hook_point"].contents() == "residual_stream_post_layer"
    assert "glp.mode" not in gguf.GGUFReader(_written(tmp_path)).fields


def _written(folder: Path) -> Path:
    path = folder / "added.gguf"
    path.write_bytes(encode_vector(example(), ".gguf"))
    return path
