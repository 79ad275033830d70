"""Extracts persona vectors from any model with Qwen2's decoder, by the mean-difference method.

For every trait the model answers the same questions twice: under system prompts that ask for the
trait and under system prompts that ask for its opposite. The vector of a decoder block is the mean
residual at the block's output over the answers with the trait, less the mean over the answers
without it. Answers are generated first; their activations are read in a forward pass of their own,
so nothing but the answer's own tokens can leak into the means.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from triton_models.text.prompt import render_chat
from triton_models.vectors.persona_vector import PersonaVector

METHOD = "mean difference of residuals over response tokens"


class TraitDefinitionError(ValueError):
    """A trait definition cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class TraitDefinition:
    """What a trait is and how to bring it out: the content of `{trait}_trait.json`."""

    trait_name: str
    description: str
    positive_prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    evaluation_questions: tuple[str, ...]


@dataclass(frozen=True)
class ExtractionSettings:
    """How to extract.

    Attributes:
        max_new_tokens: Longest answer, in tokens.
        batch_size: Answers generated, and read, at a time.
        temperature: 0 takes the most likely answer, which makes the result reproducible.
        samples: Answers per system prompt and question; more than 1 needs a temperature.
        seed: Seed of the sampling.
        selected_layers: Blocks to steer by default; empty leaves the choice to the reader.
        scale: Factor on every vector, so that scalars have a convenient range.
    """

    max_new_tokens: int = 128
    batch_size: int = 16
    temperature: float = 0.0
    samples: int = 1
    seed: int = 0
    selected_layers: tuple[int, ...] = ()
    scale: float = 1.0


@dataclass
class ResidualMeans:
    """Running means of the residual over answers, for each decoder block.

    Attributes:
        sums: Block to the float64 sum [hidden_size] of each answer's mean residual.
        norm_sums: Block to the sum of each answer's mean residual norm.
        answers: Answers counted.
        tokens: Response tokens counted.
    """

    sums: dict[int, Tensor] = field(default_factory=dict)
    norm_sums: dict[int, float] = field(default_factory=dict)
    answers: int = 0
    tokens: int = 0

    def add(self, block: int, residual: Tensor, mask: Tensor) -> None:
        """Adds a batch's residuals [batch, length, hidden] where `mask` [batch, length] is set."""
        residual = residual.float()
        weights = mask.float() / mask.sum(1, keepdim=True)
        total = torch.einsum("bl,blh->h", weights, residual).double().cpu()
        norms = float((weights * residual.norm(dim=-1)).sum())
        self.sums[block] = self.sums.get(block, torch.zeros_like(total)) + total
        self.norm_sums[block] = self.norm_sums.get(block, 0.0) + norms

    def mean(self, block: int) -> NDArray[np.float64]:
        """The mean residual of a block, [hidden_size]."""
        return (self.sums[block] / self.answers).numpy()

    def mean_norm(self, block: int) -> float:
        """The mean norm of a block's residual."""
        return self.norm_sums[block] / self.answers


def read_trait_definition(path: Path) -> TraitDefinition:
    """Reads a trait's definition file.

    Raises:
        TraitDefinitionError: The file is not JSON, or lacks a field, or a list is empty.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        lists = {
            key: tuple(str(item) for item in document[key])
            for key in ("positive_prompts", "negative_prompts", "evaluation_questions")
        }
        definition = TraitDefinition(
            trait_name=str(document["trait_name"]),
            description=str(document.get("description", "")),
            **lists,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TraitDefinitionError(f"{path.name}: is not a trait definition: {error!r}") from error
    for key, items in lists.items():
        if not items:
            raise TraitDefinitionError(f"{path.name}: {key} is empty")
    return definition


def decoder_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The model's decoder blocks, in order."""
    blocks = model.base_model.layers
    if not isinstance(blocks, nn.ModuleList):
        raise TypeError(f"{type(model).__name__} has no list of decoder blocks")
    return blocks


@contextmanager
def block_output_hooks(
    model: PreTrainedModel, change: Callable[[int, Tensor], Tensor | None]
) -> Iterator[None]:
    """Calls `change(block, output)` at each block's output; a tensor it returns takes its place.

    Blocks return a tensor, or a tuple that starts with it, depending on transformers' version.
    """

    def hook_for(block: int) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                changed = change(block, output[0])
                return None if changed is None else (changed, *output[1:])
            return change(block, output)

        return hook

    handles = [
        module.register_forward_hook(hook_for(block), prepend=True)
        for block, module in enumerate(decoder_blocks(model))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _padded(
    rows: Sequence[Sequence[int]], pad_id: int, left: bool, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, int64 [batch, longest]."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad_id)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[index, place] = torch.tensor(list(row))
        mask[index, place] = 1
    return ids.to(device), mask.to(device)


@torch.inference_mode()
def generate_responses(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float = 0.0,
) -> list[list[int]]:
    """Response token ids to each prompt of one batch, without the end token and what follows it."""
    end_ids = _end_token_ids(model, tokenizer)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(end_ids)
    ids, mask = _padded(prompts, pad_id, left=True, device=model.device)
    sampling: dict[str, Any] = {"do_sample": temperature > 0}
    if temperature > 0:
        sampling.update(temperature=temperature, top_p=1.0, top_k=0)
    else:
        sampling.update(temperature=None, top_p=None, top_k=None)
    generate: Callable[..., Tensor] = getattr(model, "generate")  # noqa: B009
    output = generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=max_new_tokens,
        repetition_penalty=1.0,
        pad_token_id=pad_id,
        eos_token_id=sorted(end_ids),
        **sampling,
    )
    responses = []
    for row in output[:, ids.shape[1] :].tolist():
        end = next((place for place, token in enumerate(row) if token in end_ids), len(row))
        responses.append(row[:end])
    return responses


def _end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = set(configured) if isinstance(configured, list) else {configured}
    ids.add(tokenizer.eos_token_id)
    return {int(token) for token in ids if token is not None}


@torch.inference_mode()
def accumulate_residuals(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    means: ResidualMeans,
) -> None:
    """Runs prompt and response through the model and adds the response's residuals to `means`."""
    pairs = [
        (prompt, response) for prompt, response in zip(prompts, responses, strict=True) if response
    ]
    if not pairs:
        return
    rows = [[*prompt, *response] for prompt, response in pairs]
    ids, attention = _padded(rows, pad_id=0, left=False, device=model.device)
    wanted = attention.bool()
    for index, (prompt, _) in enumerate(pairs):
        wanted[index, : len(prompt)] = False

    def read(block: int, residual: Tensor) -> None:
        means.add(block, residual, wanted)

    with block_output_hooks(model, read):
        model.base_model(input_ids=ids, attention_mask=attention, use_cache=False)
    means.answers += len(pairs)
    means.tokens += int(wanted.sum())


def collect_means(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    system_prompts: Sequence[str],
    questions: Sequence[str],
    settings: ExtractionSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ResidualMeans:
    """The mean residuals over the answers to every question under every system prompt."""
    prompts = [
        tokenizer(
            render_chat(
                tokenizer,
                [
                    {"role": "system", "content": system_prompt},
                    {"role": "user", "content": question},
                ],
            ),
            add_special_tokens=False,
        )["input_ids"]
        for system_prompt in system_prompts
        for question in questions
        for _ in range(settings.samples)
    ]
    means = ResidualMeans()
    for start in range(0, len(prompts), settings.batch_size):
        batch = prompts[start : start + settings.batch_size]
        responses = generate_responses(
            model, tokenizer, batch, settings.max_new_tokens, settings.temperature
        )
        accumulate_residuals(model, batch, responses, means)
        progress(start + len(batch), len(prompts))
    if not means.answers:
        raise RuntimeError("every answer was empty: there is nothing to extract a vector from")
    return means


def extract_vector(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    definition: TraitDefinition,
    model_name: str,
    settings: ExtractionSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PersonaVector:
    """Extracts a trait's vectors, one for every decoder block.

    Args:
        model: A causal language model with Qwen2's decoder, in evaluation mode.
        tokenizer: Its tokenizer, with a chat template.
        definition: The trait.
        model_name: The name to record in the vector.
        settings: How to extract.
        progress: Called with the answers done and in all, once per pole and batch.
    """
    torch.manual_seed(settings.seed)
    positive, negative = (
        collect_means(
            model, tokenizer, prompts, definition.evaluation_questions, settings, progress
        )
        for prompts in (definition.positive_prompts, definition.negative_prompts)
    )
    blocks = {
        block: (settings.scale * (positive.mean(block) - negative.mean(block))).astype(np.float32)
        for block in sorted(positive.sums)
    }
    unknown = set(settings.selected_layers) - set(blocks)
    if unknown:
        raise ValueError(f"selected layers {sorted(unknown)} are not among the model's blocks")
    metadata: dict[str, Any] = {
        "method": METHOD,
        "scale": settings.scale,
        "samples": {"positive": positive.answers, "negative": negative.answers},
        "response_tokens": {"positive": positive.tokens, "negative": negative.tokens},
        "norms": {
            str(block): round(float(np.linalg.norm(vector)), 4) for block, vector in blocks.items()
        },
        "residual_norms": {
            str(block): round((positive.mean_norm(block) + negative.mean_norm(block)) / 2, 4)
            for block in blocks
        },
        "temperature": settings.temperature,
        "seed": settings.seed,
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    if settings.selected_layers:
        metadata["selected_layers"] = sorted(settings.selected_layers)
    return PersonaVector(definition.trait_name, model_name, blocks, metadata)
