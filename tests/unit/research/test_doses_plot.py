"""The plot of doses: a panel for each measure, what steering changes of the model among them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from persona_research.evaluation.choice import ChoiceRule
from persona_research.evaluation.estimates import Estimate
from persona_research.evaluation.plots import doses
from tests.unit.research.evaluations import make_trait


@pytest.mark.parametrize(("budget", "limits"), [(None, []), (0.5, [0.5])])
def test_it_shows_divergence_and_its_budget(
    budget: float | None, limits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(doses, "save", lambda figure, path: drawn.append(figure))
    trait = make_trait("warmth")
    rising = [
        dataclasses.replace(dose, divergence=Estimate(abs(dose.scalar), 0.0, 3.0))
        for dose in trait.curves[0].doses
    ]
    first = dataclasses.replace(trait.curves[0], doses=tuple(rising))
    trait = dataclasses.replace(trait, curves=(first, *trait.curves[1:]))
    doses.plot_doses(trait, ChoiceRule(budget=budget), Path("unused"))
    panels = {axes.get_title(): axes for axes in drawn[0].axes}
    panel = panels["divergence from the unsteered model"]
    curves = [line for line in panel.lines if len(line.get_xdata()) > 2]  # type: ignore[arg-type]
    assert len(curves) == len(trait.curves)
    assert list(curves[0].get_ydata()) == [2.0, 1.0, 0.0, 1.0, 2.0]  # type: ignore[arg-type]
    shown = [line.get_ydata()[0] for line in panel.lines if line not in curves]  # type: ignore[index]
    assert shown == limits
