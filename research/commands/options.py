"""What several commands are told: where things are, and which model to run."""

from __future__ import annotations

from dataclasses import dataclass

from persona_research.model import ResearchModel
from triton_models.settings import DATA_ROOT

DEFAULT_PROMPTS = DATA_ROOT / "prompts"
DEFAULT_VECTORS = DATA_ROOT / "vectors"


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how to run it: see `ResearchModel.open`."""

    model: str | None = None
    device: str = "auto"
    dtype: str | None = None
    threads: int = 0
    batch_rows: int = 32

    def open(self) -> ResearchModel:
        """Loads the model."""
        return ResearchModel.open(**vars(self))
