"""`model.generate` of transformers: one request at a time, and a whole batch at once."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Qwen2ForCausalLM
from transformers.generation.streamers import BaseStreamer

from benchmarks.contenders.contender import Contender
from benchmarks.contenders.steering import Vectors, plain_hooks
from benchmarks.measurement import Measurement, Timeline, measure, one_after_another
from benchmarks.shapes import BenchmarkModel
from benchmarks.workload import UNIFORM, Prompts, Workload, own_steering

MAX_REQUESTS_ALONE = 2
"""How many requests are served one after another: the rate of more would be the same."""

_PADDING = 0


def load_as_usual(model: BenchmarkModel, device: str = "cpu") -> Qwen2ForCausalLM:
    """Loads a model as transformers does by itself: its default attention, the folder's dtype."""
    loaded = Qwen2ForCausalLM.from_pretrained(
        model.folder, dtype=model.torch_dtype, local_files_only=True
    )
    loaded.eval().to(device)
    return loaded


class OneAtATime(Contender):
    """The way of the service that this project replaces: one request at a time, each in hooks."""

    name = "one at a time"

    def __init__(self, model: Qwen2ForCausalLM, vectors: Vectors) -> None:
        self._model = model
        self._vectors = vectors

    def requests_served(self, workload: Workload) -> int:
        """Returns how many of a workload's requests a run computes: the first few."""
        return min(workload.streams, MAX_REQUESTS_ALONE)

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """Serves a workload's first requests, and says what serving all of them delivers."""
        measurements = []
        for stream in range(self.requests_served(workload)):
            timeline = Timeline(1)
            with plain_hooks(self._model, self._vectors, own_steering(stream)):
                generate(self._model, [prompts[stream]], workload.new_tokens, timeline)
            measurements.append(measure(timeline, workload.new_tokens))
        return one_after_another(measurements, workload.streams, workload.new_tokens)


class StaticBatch(Contender):
    """One `model.generate` call for all streams; hooks can steer them only all in the same way."""

    name = "static batch"

    def __init__(self, model: Qwen2ForCausalLM, vectors: Vectors) -> None:
        self._model = model
        self._vectors = vectors

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """Serves a workload in one batch."""
        timeline = Timeline(workload.streams)
        with plain_hooks(self._model, self._vectors, UNIFORM):
            generate(self._model, prompts, workload.new_tokens, timeline)
        return measure(timeline, workload.new_tokens)


def generate(
    model: Qwen2ForCausalLM, prompts: Prompts, new_tokens: int, timeline: Timeline
) -> list[list[int]]:
    """Generates greedily and returns each prompt's new tokens."""
    input_ids, attention_mask = left_padded(prompts)
    output: Any = model.generate(  # type: ignore[misc]
        input_ids.to(model.device),
        attention_mask=attention_mask.to(model.device),
        max_new_tokens=new_tokens,
        do_sample=False,
        pad_token_id=_PADDING,
        streamer=_Clock(timeline),
    )
    tokens: list[list[int]] = output[:, input_ids.shape[1] :].tolist()
    return tokens


def left_padded(prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns prompts side by side with their ends aligned, and which of the tokens are real.

    Returns:
        Token ids and mask, both int64 [prompts, longest prompt].
    """
    longest = max(map(len, prompts))
    input_ids = torch.full((len(prompts), longest), _PADDING)
    mask = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        input_ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return input_ids, mask


class _Clock(BaseStreamer):
    """Notes when each step's tokens come; `generate` calls it once for the prompts, too."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._tokens = -1

    def put(self, value: torch.Tensor) -> None:
        self._tokens += 1
        if self._tokens:
            for stream in range(self._timeline.streams):
                self._timeline.record(stream, self._tokens)

    def end(self) -> None:
        pass
