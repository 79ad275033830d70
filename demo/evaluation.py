"""Measures how far a vector turns a trait, and what that does to the text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from demo.grammar import well_formed_share
from demo.questions import Prompt
from demo.score import SHOWS_AT, trait_score
from demo.traits import TRAITS
from triton_models.text.prompt import render_chat
from triton_models.vectors.extraction import block_output_hooks, generate_responses
from triton_models.vectors.persona_vector import PersonaVector

SCALARS = (-2.0, -1.0, 0.0, 1.0, 2.0)
MAX_NEW_TOKENS = 120


@dataclass(frozen=True)
class Answer:
    """A steered answer and the ids it was made from and of."""

    prompt: Prompt
    text: str
    prompt_ids: list[int]
    response_ids: list[int]


@dataclass(frozen=True)
class Measurement:
    """What a set of answers to held-out prompts looks like at one scalar.

    Attributes:
        trait: The trait steered and scored.
        scalar: The scalar.
        prompts: How many prompts were answered.
        score: Mean trait score, -1 to 1.
        shows: Share of answers that show the trait (score at least 0.5).
        opposite: Share of answers that show the opposite (score at most -0.5).
        plain: Share of answers whose score is 0.
        well_formed: Mean share of sentences that are grammatical, about the prompt's topic, and
            not said twice.
        ended: Share of answers that ended by themselves.
        tokens: Mean length in tokens.
        distinct: Share of answers that are unlike every other once the topic is taken out.
        perplexity: Perplexity of the answers for the unsteered model, given the same prompt (so
            the model expects plain text).
        styled_perplexity: The same, given a system prompt that asks for the pole steered to.
    """

    trait: str
    scalar: float
    prompts: int
    score: float
    shows: float
    opposite: float
    plain: float
    well_formed: float
    ended: float
    tokens: float
    distinct: float
    perplexity: float
    styled_perplexity: float

    def as_dict(self) -> dict[str, float | str]:
        """The measurement as a JSON object."""
        return {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }


def encode_chat(
    tokenizer: PreTrainedTokenizerBase, text: str, system_prompt: str | None = None
) -> list[int]:
    """Token ids of one user turn, with the default system prompt unless one is given."""
    messages = [{"role": "user", "content": text}]
    if system_prompt:
        messages.insert(0, {"role": "system", "content": system_prompt})
    rendered = render_chat(tokenizer, messages)
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def steered_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    steering: Sequence[tuple[PersonaVector, float]],
    batch_size: int = 64,
) -> list[Answer]:
    """Greedy answers, every position of prompt and answer steered on the vectors' blocks."""
    deltas: dict[int, Tensor] = {}
    for vector, scalar in steering:
        for block in vector.selected_blocks if scalar else ():
            delta = scalar * torch.from_numpy(vector.blocks[block])
            deltas[block] = deltas[block] + delta if block in deltas else delta
    cast = {block: delta.to(model.dtype).to(model.device) for block, delta in deltas.items()}

    def change(block: int, residual: Tensor) -> Tensor | None:
        return residual + cast[block] if block in cast else None

    answers = []
    with block_output_hooks(model, change):
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            ids = [encode_chat(tokenizer, prompt.text) for prompt in batch]
            responses = generate_responses(model, tokenizer, ids, MAX_NEW_TOKENS)
            answers += [
                Answer(prompt, str(tokenizer.decode(response)), prompt_ids, response)
                for prompt, prompt_ids, response in zip(batch, ids, responses, strict=True)
            ]
    return answers


@torch.inference_mode()
def perplexity(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    answers: Sequence[Answer],
    system_prompt: str | None = None,
) -> float:
    """Perplexity per token of the answers, end token included, for the model as it is."""
    loss, count = 0.0, 0
    for answer in answers:
        prompt_ids = encode_chat(tokenizer, answer.prompt.text, system_prompt)
        response = answer.response_ids
        if len(response) < MAX_NEW_TOKENS:
            response = [*response, tokenizer.eos_token_id]
        ids = torch.tensor([[*prompt_ids, *response]], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt_ids) - 1 : -1].float()
        loss += float(
            torch.nn.functional.cross_entropy(logits, ids[0, len(prompt_ids) :], reduction="sum")
        )
        count += len(response)
    return math.exp(loss / max(count, 1))


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    vector: PersonaVector,
    prompts: Sequence[Prompt],
    scalar: float,
    with_perplexity: bool = True,
) -> tuple[Measurement, list[Answer]]:
    """Steers the prompts' answers by `scalar` and measures them."""
    answers = steered_answers(model, tokenizer, prompts, [(vector, scalar)])
    measured_by = (model, tokenizer) if with_perplexity else None
    return summarise(vector.trait_name, scalar, answers, measured_by), answers


def summarise(
    trait_name: str,
    scalar: float,
    answers: Sequence[Answer],
    measured_by: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None = None,
) -> Measurement:
    """Measures answers; the perplexities, which need the model, are NaN without it."""
    trait = TRAITS[trait_name]
    scores = [trait_score(trait.name, answer.text) for answer in answers]
    shapes = [answer.text.replace(answer.prompt.topic, "{t}") for answer in answers]
    pole_prompt = None
    if scalar:
        pole_prompt = (trait.positive if scalar > 0 else trait.negative).prompts[0]
    plain_perplexity = styled_perplexity = math.nan
    if measured_by is not None:
        plain_perplexity = perplexity(*measured_by, answers)
        styled_perplexity = perplexity(*measured_by, answers, pole_prompt)
    return Measurement(
        trait=trait.name,
        scalar=scalar,
        prompts=len(answers),
        score=fmean(scores),
        shows=fmean(score >= SHOWS_AT for score in scores),
        opposite=fmean(score <= -SHOWS_AT for score in scores),
        plain=fmean(score == 0 for score in scores),
        well_formed=fmean(well_formed_share(a.text, a.prompt.topic) for a in answers),
        ended=fmean(len(answer.response_ids) < MAX_NEW_TOKENS for answer in answers),
        tokens=fmean(len(answer.response_ids) for answer in answers),
        distinct=len(set(shapes)) / len(shapes),
        perplexity=plain_perplexity,
        styled_perplexity=styled_perplexity,
    )
