"""Writes an evaluation to a folder."""

from __future__ import annotations

import json
from pathlib import Path

from persona_research.evaluation.document import as_document
from persona_research.evaluation.evaluation import Evaluation
from persona_research.evaluation.plots import plot_blocks, plot_cosines, plot_doses, plot_movements
from persona_research.evaluation.report import markdown_report
from persona_research.evaluation.tables import (
    candidate_rows,
    cosine_rows,
    dose_rows,
    movement_rows,
    write_csv,
)

REPORT = "report.md"


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Writes report, plots (PNG, SVG), tables (CSV) and all as JSON; returns the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = []
    for trait in evaluation.traits:
        name = trait.vector.trait_name
        plots += plot_doses(trait, evaluation.settings.rule, folder / f"doses_{name}")
        if len(trait.curves) > 1:
            plots += plot_blocks(trait, folder / f"blocks_{name}")
    if evaluation.movements:
        plots += plot_movements(evaluation.movements, evaluation.scale, folder / "movements")
    if evaluation.cosines:
        plots += plot_cosines(evaluation.cosines, folder / "cosines")
    images = {path.stem: path.name for path in plots if path.suffix == ".png"}
    write_csv(folder / "doses.csv", dose_rows(evaluation))
    write_csv(folder / "blocks.csv", candidate_rows(evaluation))
    write_csv(folder / "movements.csv", movement_rows(evaluation))
    write_csv(folder / "cosines.csv", cosine_rows(evaluation))
    document = json.dumps(as_document(evaluation), ensure_ascii=False, allow_nan=False)
    (folder / "evaluation.json").write_text(document + "\n", encoding="utf-8")
    report = folder / REPORT
    report.write_text(markdown_report(evaluation, images), encoding="utf-8")
    return report
