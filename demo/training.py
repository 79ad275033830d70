"""Trains the demo model on the synthetic corpus: one process, one thread, seeded."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from persona_demo.documents import END_OF_TEXT, IM_END, Document, draw_document, draw_echo
from persona_demo.muon import Muon
from persona_demo.traits import TRAITS, Pole

HEAD_SIZE = 32
"""Width of an attention head."""


@dataclass(frozen=True)
class ModelShape:
    """The size of the demo model; the defaults make about two million parameters."""

    vocab_size: int = 2304
    hidden_size: int = 192
    intermediate_size: int = 448
    layers: int = 4
    heads: int = 6
    kv_heads: int = 3
    context: int = 1024


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train.

    Attributes:
        documents: Documents seen in all; none is seen twice.
        batch_tokens: Padded tokens of one step.
        matrix_rate: Peak learning rate of Muon, for the weight matrices of the blocks.
        other_rate: Peak learning rate of AdamW, for embeddings, norms and biases.
        echo_share: Share of exercises in copying at the start; falls to a tenth of that.
        steered_share: Share of steered documents, once a tenth of the training is done.
        steering_block: The block whose output they are steered at.
        steering_scale: The scale of the vectors they are steered by.
    """

    documents: int = 32_000
    batch_tokens: int = 2_048
    matrix_rate: float = 4e-3
    other_rate: float = 4e-3
    warmup_steps: int = 60
    seed: int = 0
    echo_share: float = 0.4
    steered_share: float = 0.45
    steering_block: int = 1
    steering_scale: float = 0.5


@dataclass(frozen=True)
class Batch:
    """Documents of like length.

    Attributes:
        ids: Token ids, [batch, length], padded on the right.
        targets: Which of them are to be predicted, bool [batch, length].
        poles: Each document's pole, [batch]: twice the trait's number, plus 1 for the negative
            pole; -1 for none.
        scalars: Each document's steering, float [batch, traits].
        steered: The positions it is steered at, 0 or 1, float [batch, length].
    """

    ids: Tensor
    targets: Tensor
    poles: Tensor
    scalars: Tensor
    steered: Tensor


@dataclass(frozen=True)
class Example:
    """A document as token ids and which of them are targets."""

    ids: list[int]
    targets: list[bool]
    document: Document


def build_model(shape: ModelShape, tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    """A Qwen2 model with fresh weights, in float32."""
    end = tokenizer.get_vocab()[IM_END]
    stop = tokenizer.get_vocab()[END_OF_TEXT]
    config = Qwen2Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        use_cache=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=stop,
        initializer_range=0.02,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=None,
        eos_token_id=[end, stop],
        pad_token_id=stop,
        do_sample=False,
        max_new_tokens=128,
    )
    return model


def encode(document: Document, tokenizer: PreTrainedTokenizerBase) -> Example:
    """Tokenizes a document."""
    ids: list[int] = []
    targets: list[bool] = []
    pieces = tokenizer([segment.text for segment in document.segments], add_special_tokens=False)
    for segment, piece in zip(document.segments, pieces["input_ids"], strict=True):
        ids.extend(piece)
        targets.extend([segment.target] * len(piece))
    return Example(ids, targets, document)


def batches(
    plan: TrainingPlan, tokenizer: PreTrainedTokenizerBase, rng: random.Random
) -> Iterator[Batch]:
    """Batches of documents of like length, about `plan.batch_tokens` padded tokens each."""
    chunk_size = 1_024
    for start in range(0, plan.documents, chunk_size):
        count = min(chunk_size, plan.documents - start)
        echo_share = plan.echo_share * max(0.1, 1 - 3 * start / plan.documents)
        steered_share = plan.steered_share if start > 0.1 * plan.documents else 0.0
        chunk = [
            encode(
                draw_echo(rng) if rng.random() < echo_share else draw_document(rng, steered_share),
                tokenizer,
            )
            for _ in range(count)
        ]
        chunk.sort(key=lambda example: len(example.ids))
        groups: list[list[Example]] = [[]]
        for example in chunk:
            if groups[-1] and len(example.ids) * (len(groups[-1]) + 1) > plan.batch_tokens:
                groups.append([])
            groups[-1].append(example)
        rng.shuffle(groups)
        yield from (_pad(group, tokenizer.pad_token_id) for group in groups)


_POLES: list[Pole] = [pole for t in TRAITS.values() for pole in (t.positive, t.negative)]


def _pad(group: list[Example], pad_id: int) -> Batch:
    """Pads on the right: under a causal mask nothing before the padding can see it."""
    size, length = len(group), max(len(example.ids) for example in group)
    ids = torch.full((size, length), pad_id)
    targets = torch.zeros(size, length, dtype=torch.bool)
    poles = torch.full((size,), -1)
    scalars = torch.zeros(size, len(TRAITS))
    steered = torch.ones(size, length)
    names = list(TRAITS)
    for row, example in enumerate(group):
        document = example.document
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        targets[row, : len(example.ids)] = torch.tensor(example.targets)
        if document.pole is not None:
            poles[row] = _POLES.index(document.pole)
        for trait, scalar in document.steering:
            scalars[row, names.index(trait)] = scalar
        if document.positions != "all":
            steered[row] = (targets[row] == (document.positions == "response")).float()
    targets[:, 0] = False
    return Batch(ids, targets, poles, scalars, steered)


class RunningVectors:
    """The traits' mean differences at one block's output, as the model's activations have them.

    Running means of each pole's residual over the target tokens of documents that show the pole
    because their system prompt asks for it. This is what the extractor measures, updated as the
    model learns.

    Args:
        scale: Factor on the differences; the vectors' scale when they are extracted.
        decay: Decay of the running means, per document.
    """

    def __init__(self, hidden_size: int, scale: float, decay: float = 0.985) -> None:
        self._scale = scale
        self._decay = decay
        self._means = torch.zeros(2 * len(TRAITS), hidden_size)
        self._weights = torch.zeros(2 * len(TRAITS))

    def update(self, residual: Tensor, batch: Batch) -> None:
        """Takes in a batch's residuals, [batch, length, hidden], where a document has a pole."""
        rows = (batch.poles >= 0).nonzero().flatten().tolist()
        for row in rows:
            pole = int(batch.poles[row])
            mean = residual[row][batch.targets[row]].mean(0)
            self._means[pole].lerp_(mean, 1 - self._decay)
            self._weights[pole].lerp_(torch.tensor(1.0), 1 - self._decay)

    def vectors(self) -> Tensor:
        """The scaled mean differences, [traits, hidden]."""
        means = self._means / self._weights.clamp_min(1e-6)[:, None]
        return self._scale * (means[0::2] - means[1::2])


def batch_loss(
    model: Qwen2ForCausalLM, batch: Batch, block: int, running: RunningVectors
) -> Tensor:
    """Mean cross-entropy, in nats per target token; logits are computed for targets only.

    Steers the batch's steered documents at the output of `block` and updates `running`.
    """
    deltas = batch.scalars @ running.vectors()

    def steer(module: torch.nn.Module, args: tuple[object, ...], output: Tensor) -> Tensor:
        running.update(output.detach(), batch)
        return output + deltas[:, None, :] * batch.steered[:, :, None]

    handle = model.model.layers[block].register_forward_hook(steer)
    try:
        hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    finally:
        handle.remove()
    wanted = batch.targets[:, 1:]
    logits = model.lm_head(hidden[:, :-1][wanted])
    return torch.nn.functional.cross_entropy(logits, batch.ids[:, 1:][wanted])


def _optimizers(model: Qwen2ForCausalLM, plan: TrainingPlan) -> list[torch.optim.Optimizer]:
    blocks = dict(model.model.layers.named_parameters())
    matrices = [parameter for parameter in blocks.values() if parameter.ndim == 2]
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return [
        Muon(matrices, lr=plan.matrix_rate, weight_decay=0.02),
        torch.optim.AdamW(
            others, lr=plan.other_rate, betas=(0.9, 0.97), weight_decay=0.0, foreach=True
        ),
    ]


def _rate_share(progress: float, step: int, warmup_steps: int) -> float:
    """The share of the peak learning rate: linear warm-up, then cosine to a twentieth."""
    warm = min(1.0, (step + 1) / warmup_steps)
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


def train(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    plan: TrainingPlan,
    report: Callable[[str], None] = print,
    report_every: int = 50,
) -> float:
    """Trains `model` in place and returns the mean loss of the last reports' steps."""
    running = RunningVectors(model.config.hidden_size, plan.steering_scale)
    optimizers = _optimizers(model, plan)
    peaks = [plan.matrix_rate, plan.other_rate]
    rng = random.Random(plan.seed)
    model.train()
    seen, tokens, started, losses, mean_loss = 0, 0, time.monotonic(), [], math.nan
    for step, batch in enumerate(batches(plan, tokenizer, rng)):
        share = _rate_share(seen / plan.documents, step, plan.warmup_steps)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * share
        loss = batch_loss(model, batch, plan.steering_block, running)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen += len(batch.ids)
        tokens += batch.ids.numel()
        losses.append(loss.item())
        if step % report_every == report_every - 1:
            mean_loss = sum(losses) / len(losses)
            losses.clear()
            minutes = (time.monotonic() - started) / 60
            report(
                f"step {step + 1}  {seen}/{plan.documents} documents  loss {mean_loss:.4f}"
                f"  {minutes:.1f} min  {tokens / minutes / 60:.0f} tokens/s"
                f"  vector norms {running.vectors().norm(dim=1).mean():.2f}"
            )
    model.eval()
    return mean_loss


def save_model(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes the model in bfloat16, its configuration and its tokenizer into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
