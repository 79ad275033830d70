"""Trains the embedded model's adapter: one process, seeded, on the tokens of answers only.

Cross-entropy alone teaches a small model how both voices sound, but hardly when to use which. So an
answer in a voice is also scored under a system prompt that asks for the contrary one, and the loss
asks that it be less likely there (a hinge on the difference, as in unlikelihood and contrastive
training). And an answer in neither voice is to be as likely under both: otherwise whatever the
model says by itself passes for one pole of a trait, and steering towards that pole has nowhere to
go.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from persona_embedded.adapter import Adapter, adapt, adapter_of
from persona_embedded.conversations import Conversation

_SAVED_EVERY = 120.0
"""Seconds: so much of a training that is cut off is lost at most."""


@dataclass(frozen=True)
class AdapterPlan:
    """How the adapter is trained.

    Attributes:
        first_block: The first block that is adapted; gradients end there, which saves time.
        voices: Conversations of each pole of each trait.
        own_answers: Questions that are answered as the model answers them by itself.
        own_tokens: The most tokens of such an answer.
        dtype: What linear layers and attention compute in; parameters, losses and what is summed
            stay float32. Processors without bfloat16 are faster in `float32`.
        epochs: How often each conversation is seen.
        batch_tokens: Padded tokens of one step.
        rate: AdamW's peak learning rate.
        kept: The share of what was learned that is kept, by a smaller alpha. Asked for a trait, a
            model that keeps all of it goes further than a vector can follow in whole sentences.
        margin: How much more likely an answer is to become under the system prompt that asks for
            its voice than under one that asks for the contrary voice, in nats per token.
        margin_weight: What a nat that is missing there costs, or one of difference between the
            poles for an answer that shows neither, in nats of cross-entropy.
    """

    rank: int = 8
    alpha: float = 16.0
    first_block: int = 8
    voices: int = 230
    own_answers: int = 300
    own_tokens: int = 56
    dtype: str = "bfloat16"
    epochs: int = 1
    batch_tokens: int = 1_024
    rate: float = 1e-3
    kept: float = 0.7
    margin: float = 0.6
    margin_weight: float = 3.0
    warmup_steps: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Example:
    """A conversation's tokens, of which those from `start` on are to be predicted."""

    ids: list[int]
    start: int


@dataclass(frozen=True)
class Lesson:
    """An answer, and the same one under system prompts that it is compared under.

    Attributes:
        example: What is to become likely.
        contrary: Where the answer is to become less so, if anywhere.
        poles: Where neither is to be likelier than the other, if anywhere.
    """

    example: Example
    contrary: Example | None = None
    poles: tuple[Example, Example] | None = None

    @property
    def examples(self) -> list[Example]:
        """All of them, in the order of the attributes."""
        return [self.example, *([self.contrary] if self.contrary else []), *(self.poles or ())]


def encode(said: Conversation, tokenizer: PreTrainedTokenizerBase) -> Lesson:
    """Tokenizes a conversation as it is tokenized when it is served."""
    answer: list[int] = tokenizer(said.answer, add_special_tokens=False)["input_ids"]
    end = [tokenizer.eos_token_id] if said.ended else []

    def under(system: str) -> Example:
        prompt = tokenizer.apply_chat_template(
            said.messages(system), add_generation_prompt=True, tokenize=False
        )
        ids: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return Example([*ids, *answer, *end], len(ids))

    return Lesson(
        under(said.system),
        under(said.contrary) if said.contrary else None,
        (under(said.poles[0]), under(said.poles[1])) if said.poles else None,
    )


def batches(lessons: Sequence[Lesson], batch_tokens: int, rng: random.Random) -> list[list[Lesson]]:
    """Groups lessons of like length, about `batch_tokens` padded tokens each, in random order."""
    groups: list[list[Lesson]] = [[]]
    rows = 0
    for lesson in sorted(rng.sample(lessons, len(lessons)), key=_longest):
        rows += len(lesson.examples)
        if groups[-1] and _longest(lesson) * rows > batch_tokens:
            groups.append([])
            rows = len(lesson.examples)
        groups[-1].append(lesson)
    rng.shuffle(groups)
    return groups


def _longest(lesson: Lesson) -> int:
    return max(len(example.ids) for example in lesson.examples)


def token_losses(model: LlamaForCausalLM, examples: Sequence[Example]) -> list[Tensor]:
    """Returns the cross-entropy of each example's target tokens, in nats: [targets] each.

    Logits are computed for targets only. Padding is on the right, where under a causal mask
    nothing sees it.
    """
    length = max(len(example.ids) for example in examples)
    ids = torch.zeros(len(examples), length, dtype=torch.long)
    targets = torch.zeros(len(examples), length, dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        targets[row, example.start : len(example.ids)] = True
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    wanted = targets[:, 1:]
    logits = model.lm_head(hidden[:, :-1][wanted])
    losses = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none")
    return list(losses.split(wanted.sum(1).tolist()))


@dataclass(frozen=True)
class BatchLoss:
    """What a batch is trained on.

    Attributes:
        entropy: Mean cross-entropy of what is to become likely, in nats per token.
        margins: How much more likely each answer is there than under the contrary system prompt,
            in nats per token: [lessons with a contrary].
        leanings: How much more likely each answer in neither voice is under the positive system
            prompt than under the negative one, in nats per token: [lessons with poles].
    """

    entropy: Tensor
    margins: Tensor
    leanings: Tensor

    def total(self, plan: AdapterPlan) -> Tensor:
        """Returns what is minimized."""
        missed = torch.cat([torch.relu(plan.margin - self.margins), self.leanings.abs()])
        return self.entropy + plan.margin_weight * missed.mean() if len(missed) else self.entropy


def batch_loss(model: LlamaForCausalLM, group: Sequence[Lesson]) -> BatchLoss:
    """Computes all examples of a batch at once."""
    losses = iter(token_losses(model, [each for lesson in group for each in lesson.examples]))
    taught, margins, leanings = [], [], []
    for lesson in group:
        taught.append(next(losses))
        if lesson.contrary:
            margins.append(next(losses).mean() - taught[-1].mean())
        if lesson.poles:
            positive, negative = next(losses).mean(), next(losses).mean()
            leanings.append(negative - positive)
    return BatchLoss(torch.cat(taught).mean(), _stacked(margins), _stacked(leanings))


def _stacked(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)) if values else torch.empty(0)


def train_adapter(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    plan: AdapterPlan,
    save: Callable[[Adapter], None],
    report: Callable[[str], None] = print,
) -> None:
    """Adapts `model` in place; gives the adapter to `save` every two minutes, and at the end."""

    def adapter() -> Adapter:
        return adapter_of(model, plan.rank, plan.kept * plan.alpha)

    rng = random.Random(plan.seed)
    torch.manual_seed(plan.seed)
    lessons = [encode(each, tokenizer) for each in conversations]
    groups = [
        group for _ in range(plan.epochs) for group in batches(lessons, plan.batch_tokens, rng)
    ]
    adapt(model, plan.rank, plan.alpha, plan.first_block)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
    started = saved = time.monotonic()
    tokens = 0
    entropy, margin, leaning = _Average(), _Average(), _Average()
    model.train()
    for step, group in enumerate(groups):
        optimizer.param_groups[0]["lr"] = plan.rate * _rate_share(plan, step, len(groups))
        with torch.autocast("cpu", getattr(torch, plan.dtype), plan.dtype != "float32"):
            loss = batch_loss(model, group)
        loss.total(plan).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens += sum(len(example.ids) for lesson in group for example in lesson.examples)
        entropy.add(loss.entropy.item())
        if len(loss.margins):
            margin.add(loss.margins.mean().item())
        if len(loss.leanings):
            leaning.add(loss.leanings.abs().mean().item())
        now = time.monotonic()
        report(
            f"step {step + 1} of {len(groups)}  loss {entropy.value:.3f}  "
            f"margin {margin.value:.3f}  leaning {leaning.value:.3f}  "
            f"{(now - started) / 60:.1f} min  {tokens / (now - started):.0f} tokens/s"
        )
        if now - saved > _SAVED_EVERY:
            save(adapter())
            saved = now
    save(adapter())


class _Average:
    """An exponential moving average, for the log."""

    def __init__(self) -> None:
        self.value = math.nan

    def add(self, value: float) -> None:
        self.value = value if math.isnan(self.value) else 0.9 * self.value + 0.1 * value


def _rate_share(plan: AdapterPlan, step: int, steps: int) -> float:
    """The share of the peak learning rate: linear warm-up, then cosine to a twentieth."""
    warm = min(1.0, (step + 1) / plan.warmup_steps)
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
