"""What is shipped of a made vector: scalars keep their meaning when its numbers are scaled."""

from __future__ import annotations

import numpy as np
import pytest

from persona_embedded.shipping import shipped
from triton_models.contract.errors import InvalidArgumentError
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.unit_scale import UNIT_SCALE, raw_scalar


def made(positive: object) -> PersonaVector:
    scales = {"positive": positive, "negative": {"scalar": 1.0, "share": 1.0, "divergence": 0.3}}
    return PersonaVector(
        "calm",
        "small",
        {block: np.full(2, block, np.float32) for block in (1, 2, 3)},
        {
            "selected_layers": [2],
            "scale": 1.0,
            "recommended_range": [-1.0, 3.0],
            UNIT_SCALE: {"model": "small", "layers": {"2": scales}},
            "evaluation": {
                "doses": [{"scalar": -1.0, "ended": 1.0}, {"scalar": 3.0, "ended": 1.0}],
                "candidates": [{"layers": [2], "range": [-1.0, 3.0], "gain": 0.1}],
            },
        },
    )


def test_a_scalar_of_one_does_as_much_as_asking() -> None:
    vector = made({"scalar": 2.0, "share": 1.0, "divergence": 0.4})
    small = shipped(vector, (2, 3))
    assert raw_scalar(small, (2,), 1.0) == 1.0
    assert raw_scalar(small, (2,), -1.0) == -0.5
    assert list(small.blocks) == [2, 3]
    np.testing.assert_array_equal(small.blocks[2], 2 * vector.blocks[2])
    assert small.blocks[2].dtype == np.float32
    metadata = small.metadata
    assert metadata["selected_layers"] == [2]
    assert (metadata["scale"], metadata["recommended_range"]) == (2.0, [-0.5, 1.5])
    assert metadata["norms"] == {"2": 5.6569, "3": 8.4853}
    evaluation = metadata["evaluation"]
    assert [dose["scalar"] for dose in evaluation["doses"]] == [-0.5, 1.5]
    assert evaluation["candidates"][0]["range"] == [-0.5, 1.5]


def test_a_vector_that_never_does_as_much_is_not_shipped() -> None:
    with pytest.raises(InvalidArgumentError, match="no scalar of 'calm' did as much"):
        shipped(made(None), (2,))
