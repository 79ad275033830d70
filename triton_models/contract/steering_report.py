"""What an answer says about limits and about what a policy enforces, as JSON has it."""

from __future__ import annotations

from typing import Any

from triton_models.contract.steering import Enforced, Limit, Operation


def limit_json(limit: Limit) -> dict[str, Any]:
    """Returns a limit as `steering` describes it, with what is left out there."""
    return {
        "trait": limit.trait,
        "above" if limit.above else "below": limit.bound,
        "unit": limit.unit,
        **({} if limit.layer is None else {"layer": limit.layer}),
        "over": limit.over,
        "action": limit.action,
    }


def enforced_json(enforced: Enforced) -> dict[str, Any]:
    """Returns what a policy enforces as `steering` describes it, with what is left out there."""
    return {
        "operations": [_operation_json(each) for each in enforced.operations],
        "limits": [limit_json(each) for each in enforced.limits],
    }


def _operation_json(operation: Operation) -> dict[str, Any]:
    bound = {"value": operation.value, "unit": operation.unit}
    return {
        "trait": operation.trait,
        "kind": operation.kind,
        **({} if operation.kind == "ablate" else bound),
        "strength": operation.strength,
        **({} if operation.layers is None else {"layers": list(operation.layers)}),
    }
