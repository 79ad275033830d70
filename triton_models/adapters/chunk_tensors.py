"""Converts a chunk to the values of `steered_qwen`'s output tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

from triton_models.contract import tensors
from triton_models.contract.steering_report import enforced_json, limit_json
from triton_models.engine.sequence import PromptTokenLogprobs, TokenChunk, TokenLogprobs
from triton_models.engine.timeline import Phases
from triton_models.steering.limits import LimitReached
from triton_models.steering.readout import TokenReadout
from triton_models.text.token_bytes import TokenBytes
from triton_models.vectors.calibration import CalibratedMean

_NO_LOGPROBS: dict[str, Any] = {"output_logprobs": (), "top_ids": (), "top_logprobs": ()}


def chunk_values(
    chunk: TokenChunk, token_bytes: TokenBytes, description: str = ""
) -> dict[str, Any]:
    """Returns the value of each output: one element, or a sequence if its length is variable."""
    report = _report(chunk, token_bytes)
    return {
        "output_ids": chunk.token_ids,
        "output_bytes": chunk.num_bytes,
        "echo_ids": chunk.echo_ids,
        # This runs for every token, and most requests do not ask for log-probabilities.
        **(_logprobs(chunk.logprobs) if chunk.logprobs else _NO_LOGPROBS),
        "prompt_scores": _scores(chunk.prompt_logprobs) if chunk.prompt_logprobs else "",
        "finish_reason": chunk.finish_reason.value if chunk.finish_reason else "",
        "num_input_tokens": chunk.num_prompt_tokens,
        "num_output_tokens": chunk.num_generated_tokens,
        "num_reused_tokens": chunk.num_reused_tokens,
        "readouts": "" if chunk.readouts is None else _readouts(chunk.readouts),
        "report": json.dumps(report, ensure_ascii=False) if report else "",
        "warnings": json.dumps(chunk.warnings) if chunk.warnings else "",
        "timings": "" if chunk.phases is None else _timings(chunk.phases),
        "error": chunk.error,
        "error_code": chunk.error_code.value if chunk.error_code else "",
        tensors.DESCRIPTION.name: description,
    }


def _logprobs(logprobs: tuple[TokenLogprobs, ...]) -> dict[str, Any]:
    top = [pair for each in logprobs for pair in each.top]
    return {
        "output_logprobs": [each.logprob for each in logprobs],
        "top_ids": [token_id for token_id, _ in top],
        "top_logprobs": [logprob for _, logprob in top],
    }


def _scores(logprobs: tuple[PromptTokenLogprobs, ...]) -> str:
    return json.dumps([(each.token_id, each.logprob, each.rank, each.top) for each in logprobs])


def _timings(phases: Phases) -> str:
    reached = {name: value for name, value in asdict(phases).items() if value is not None}
    return json.dumps({name: round(value, 6) for name, value in reached.items()})


def _readouts(readouts: Mapping[str, Mapping[int, float]]) -> str:
    return json.dumps({trait: by_block(means) for trait, means in readouts.items()})


def _report(chunk: TokenChunk, token_bytes: TokenBytes) -> dict[str, Any]:
    report: dict[str, Any] = {}
    if chunk.turn_readouts:
        report["turn_readouts"] = [
            {
                "role": turn.role,
                "readouts": {trait: by_block(means) for trait, means in turn.means.items()},
            }
            for turn in chunk.turn_readouts
        ]
    if chunk.token_readouts:
        report["token_readouts"] = [
            {
                "token": token_bytes.join_with_special((token_id,)).decode("utf-8", "replace"),
                "readouts": _projections(readout),
            }
            for token_id, readout in zip(chunk.token_ids, chunk.token_readouts, strict=True)
        ]
    if chunk.calibrated_readouts:
        report["calibrated_readouts"] = {
            trait: {str(block): _mean(mean) for block, mean in means.items()}
            for trait, means in chunk.calibrated_readouts.items()
        }
    if chunk.condition is not None:
        report["condition"] = {
            "tokens": chunk.condition.num_tokens,
            "met": chunk.condition.num_met,
        }
    if chunk.limits_reached:
        report["limits_reached"] = [_limit_reached(each) for each in chunk.limits_reached]
    if chunk.enforced is not None:
        report["enforced"] = enforced_json(chunk.enforced)
    return report


def _limit_reached(reached: LimitReached) -> dict[str, Any]:
    resolved = reached.resolved
    return {
        **limit_json(resolved.limit),
        "layer": resolved.block,
        "enforced": resolved.is_enforced,
        "bound": rounded(resolved.bound),
        "projection": rounded(reached.projection),
        "token": reached.token,
    }


def _projections(readout: TokenReadout) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {each.trait: {} for each in readout.directions}
    for each, before, after in zip(readout.directions, readout.before, readout.after, strict=False):
        # Half precision can overflow before steering takes it back, and JSON has no infinity.
        if not (isfinite(before) and isfinite(after)):
            continue
        read = {"before": rounded(before), "after": rounded(after)}
        if each.calibration is not None:
            read["percentile"] = rounded(each.calibration.percentile(after))
        found[each.trait][str(each.block)] = read
    return found


def _mean(mean: CalibratedMean) -> dict[str, float | None]:
    pole = None if mean.pole is None else rounded(mean.pole)
    return {"percentile": rounded(mean.percentile), "pole": pole}


def by_block(numbers: Mapping[int, float]) -> dict[str, float]:
    """Returns a JSON object of float32 sums by block."""
    return {str(block): rounded(number) for block, number in numbers.items()}


def rounded(number: float) -> float:
    """Returns a number that float32 sums make, without digits that would be noise."""
    return float(f"{number:.6g}")
