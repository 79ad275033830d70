"""Trains the embedded model's adapter: one process, seeded, on the tokens of answers only."""

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
        epochs: How often each conversation is seen.
        batch_tokens: Padded tokens of one step.
        rate: AdamW's peak learning rate.
    """

    rank: int = 8
    alpha: float = 16.0
    first_block: int = 8
    voices: int = 110
    own_answers: int = 400
    own_tokens: int = 56
    epochs: int = 1
    batch_tokens: int = 1_024
    rate: float = 1e-3
    warmup_steps: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Example:
    """A conversation's tokens, of which those from `start` on are to be predicted."""

    ids: list[int]
    start: int


def encode(said: Conversation, tokenizer: PreTrainedTokenizerBase) -> Example:
    """Tokenizes a conversation as it is tokenized when it is served."""
    prompt = tokenizer.apply_chat_template(
        said.messages, add_generation_prompt=True, tokenize=False
    )
    ids: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    answer: list[int] = tokenizer(said.answer, add_special_tokens=False)["input_ids"]
    end = [tokenizer.eos_token_id] if said.ended else []
    return Example([*ids, *answer, *end], len(ids))


def batches(
    examples: Sequence[Example], batch_tokens: int, rng: random.Random
) -> list[list[Example]]:
    """Groups examples of like length, about `batch_tokens` padded tokens each, in random order."""
    groups: list[list[Example]] = [[]]
    mixed = rng.sample(examples, len(examples))
    for example in sorted(mixed, key=lambda each: len(each.ids)):
        if groups[-1] and len(example.ids) * (len(groups[-1]) + 1) > batch_tokens:
            groups.append([])
        groups[-1].append(example)
    rng.shuffle(groups)
    return groups


def batch_loss(model: LlamaForCausalLM, group: Sequence[Example]) -> Tensor:
    """Mean cross-entropy, in nats per target token; logits are computed for targets only.

    Padding is on the right, where under a causal mask nothing sees it.
    """
    length = max(len(example.ids) for example in group)
    ids = torch.zeros(len(group), length, dtype=torch.long)
    targets = torch.zeros(len(group), length, dtype=torch.bool)
    for row, example in enumerate(group):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        targets[row, example.start : len(example.ids)] = True
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    wanted = targets[:, 1:]
    logits = model.lm_head(hidden[:, :-1][wanted])
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:][wanted])


def train_adapter(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    plan: AdapterPlan,
    save: Callable[[Adapter], None],
    report: Callable[[str], None] = print,
) -> None:
    """Adapts `model` in place; gives the adapter to `save` every two minutes, and at the end."""
    rng = random.Random(plan.seed)
    torch.manual_seed(plan.seed)
    examples = [encode(each, tokenizer) for each in conversations]
    groups = [
        group for _ in range(plan.epochs) for group in batches(examples, plan.batch_tokens, rng)
    ]
    adapt(model, plan.rank, plan.alpha, plan.first_block)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
    started = saved = time.monotonic()
    tokens, mean = 0, math.nan
    model.train()
    for step, group in enumerate(groups):
        optimizer.param_groups[0]["lr"] = plan.rate * _rate_share(plan, step, len(groups))
        loss = batch_loss(model, group)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens += sum(len(example.ids) for example in group)
        mean = loss.item() if math.isnan(mean) else 0.9 * mean + 0.1 * loss.item()
        now = time.monotonic()
        report(
            f"step {step + 1} of {len(groups)}  loss {mean:.3f}  {(now - started) / 60:.1f} min  "
            f"{tokens / (now - started):.0f} tokens/s"
        )
        if now - saved > _SAVED_EVERY:
            save(adapter_of(model, plan.rank, plan.alpha))
            saved = now
    save(adapter_of(model, plan.rank, plan.alpha))


def _rate_share(plan: AdapterPlan, step: int, steps: int) -> float:
    """The share of the peak learning rate: linear warm-up, then cosine to a twentieth."""
    warm = min(1.0, (step + 1) / plan.warmup_steps)
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
