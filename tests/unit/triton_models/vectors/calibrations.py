"""Calibrations for tests."""

from __future__ import annotations

import numpy as np

from triton_models.vectors.calibration import (
    BlockCalibration,
    Calibration,
    Distribution,
    ModelIdentity,
    Projections,
)
from triton_models.vectors.calibration_document import CALIBRATION, calibration_document
from triton_models.vectors.persona_vector import PersonaVector

MODEL = ModelIdentity("m", "a" * 64)


def projections(*values: float) -> Projections:
    """The projections of answers of one token each."""
    distribution = Distribution.of(np.array(values), 101)
    return Projections(distribution, distribution)


BLOCK = BlockCalibration(
    neutral=projections(0.0, 10.0), positive=projections(18.0, 22.0), negative=projections(-5, -15)
)
"""Neutral tokens are spread evenly from 0 to 10, and the poles' means are -10 and 20."""


def calibrated(trait: str, *blocks: int, model: ModelIdentity = MODEL) -> PersonaVector:
    """A vector [1, 0] at each block, calibrated as `BLOCK` says."""
    found = Calibration(trait, model, 6, 60, 0, dict.fromkeys(blocks, BLOCK))
    return PersonaVector(
        trait,
        model.name,
        {block: np.array([1, 0], np.float32) for block in blocks},
        {CALIBRATION: calibration_document(found), "selected_layers": list(blocks)},
    )
