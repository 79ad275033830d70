"""Readouts beside calibrations, and how they and the traits are described."""

from __future__ import annotations

import dataclasses
import json
import math
from types import MappingProxyType

import numpy as np
import pytest

from tests.tiny_model import make_tokenizer, served
from tests.unit.triton_models.vectors.calibrations import BLOCK, MODEL, calibrated
from triton_models.adapters.chunk_tensors import chunk_values
from triton_models.adapters.description import describe_traits
from triton_models.engine.sequence import TokenChunk
from triton_models.steering.readout import Readout, resolve_directions
from triton_models.text.token_bytes import TokenBytes
from triton_models.vectors.calibration import CalibratedMean, Calibration, ModelIdentity
from triton_models.vectors.calibration_document import CALIBRATION, calibration_document
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError
from triton_models.vectors.registry import ModelFit, VectorRegistry

TOKEN_BYTES = TokenBytes(served(make_tokenizer()))
PARTLY = dataclasses.replace(
    calibrated("partly", 1), blocks={b: np.ones(2, np.float32) for b in (1, 2)}
)
VECTORS = {
    "sarcasm": calibrated("sarcasm", 1, 3),
    "partly": dataclasses.replace(PARTLY, metadata={**PARTLY.metadata, "selected_layers": [1, 2]}),
    "foreign": calibrated("foreign", 1, model=ModelIdentity("other")),
    "broken": PersonaVector("broken", "m", {1: np.ones(2, np.float32)}, {CALIBRATION: [1]}),
    "bare": PersonaVector("bare", "m", {1: np.ones(2, np.float32)}, {"note": 1}),
}
REGISTRY = VectorRegistry(MappingProxyType(VECTORS), dict.fromkeys(VECTORS, ()), (), model=MODEL)


def test_calibrated_blocks_have_percentiles_and_poles_and_others_have_not() -> None:
    readout = Readout(resolve_directions(tuple(VECTORS), None, REGISTRY))
    assert readout.calibrated_means() == {}
    # Two tokens, whose mean is 5 at every block.
    readout.add([4.0] * 7)
    readout.add([6.0] * 7)
    assert set(readout.means()) == set(VECTORS)
    assert readout.calibrated_means() == {
        "sarcasm": {1: CalibratedMean(50, 0.5), 3: CalibratedMean(50, 0.5)},
        "partly": {1: CalibratedMean(50, 0.5)},
    }


def test_a_mean_that_is_not_finite_says_nothing() -> None:
    readout = Readout(resolve_directions(["sarcasm"], None, REGISTRY))
    readout.add([math.nan, 5.0])
    assert readout.calibrated_means() == {"sarcasm": {3: CalibratedMean(50, 0.5)}}


def test_they_are_a_part_of_the_last_chunk_s_report() -> None:
    assert chunk_values(TokenChunk(), TOKEN_BYTES)["report"] == ""
    assert chunk_values(TokenChunk(readouts={"bare": {1: 2.0}}), TOKEN_BYTES)["report"] == ""
    means = {1: CalibratedMean(200 / 3, -1 / 3), 3: CalibratedMean(0, None)}
    chunk = TokenChunk(calibrated_readouts={"sarcasm": means})
    assert json.loads(chunk_values(chunk, TOKEN_BYTES)["report"]) == {
        "calibrated_readouts": {
            "sarcasm": {
                "1": {"percentile": 66.6667, "pole": -0.333333},
                "3": {"percentile": 0.0, "pole": None},
            }
        }
    }


def test_the_description_says_which_traits_are_calibrated_for_the_model() -> None:
    traits = describe_traits(REGISTRY, {})
    assert traits["bare"]["calibration"] is None
    assert traits["foreign"]["calibration"]["usable"] is False
    assert (
        "for the model other, but this is m (weights" in traits["foreign"]["calibration"]["reason"]
    )
    assert "cannot be used" in traits["broken"]["calibration"]["reason"]
    assert traits["sarcasm"]["calibration"] == {
        "usable": True,
        "num_answers": 6,
        "num_tokens": 60,
        "seed": 0,
        "answer_means": {
            block: {"neutral": 5.0, "positive": 20.0, "negative": -10.0} for block in ("1", "3")
        },
    }
    assert traits["bare"]["metadata"] == {"note": 1}
    assert traits["sarcasm"]["metadata"] == {"selected_layers": [1, 3]}


def test_quantiles_do_not_count_as_metadata_that_is_shown() -> None:
    """A model of 126 blocks has more of them than the description of traits may have."""
    blocks = dict.fromkeys(range(126), BLOCK)
    document = calibration_document(Calibration("big", MODEL, 6, 60, 0, blocks))
    assert len(json.dumps(document)) > 2**18
    vectors = {block: np.ones(2, np.float32) for block in blocks}
    fit = ModelFit("m", 2, 126)
    fit.check(PersonaVector("big", "m", vectors, {CALIBRATION: document}))
    with pytest.raises(VectorFileError, match="metadata has"):
        fit.check(PersonaVector("big", "m", vectors, {"note": "x" * 2**18}))
