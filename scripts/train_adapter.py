#!/usr/bin/env python3
"""Trains the embedded model's adapter on `data/voices` and on the model's own answers."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from persona_embedded.adapter import BASE_MODEL, write_adapter
from persona_embedded.conversations import (
    Conversation,
    draw_questions,
    draw_voices,
    read_neutral,
    read_voices,
)
from persona_embedded.making import write_model
from persona_embedded.package import ADAPTER, check_gguf, find_gguf
from persona_embedded.training import AdapterPlan, train_adapter
from persona_research.answering import chat
from persona_research.model import AnswerRequest, ResearchModel
from persona_research.progress import progress_bar
from triton_models.settings import DATA_ROOT

VOICES = DATA_ROOT / "voices"


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ADAPTER)
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    for field in fields(AdapterPlan):
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=type(field.default), default=field.default)
    return parser.parse_args()


def _own_answers(
    base: Path, questions: Sequence[Conversation], plan: AdapterPlan, threads: int
) -> list[Conversation]:
    """Asks the unadapted model, greedily."""
    with ResearchModel.open(str(base), threads=threads) as model:
        requests = [
            AnswerRequest(model.encode_chat(chat(asked.question)), max_new_tokens=plan.own_tokens)
            for asked in questions
        ]
        with progress_bar("its own answers", len(requests)) as show:
            answers = model.answers(requests, show)
    return [
        replace(asked, answer=answer.text, ended=answer.ended)
        for asked, answer in zip(questions, answers, strict=True)
    ]


def main() -> None:
    """Asks, trains and saves."""
    arguments = _parse_arguments()
    torch.set_num_threads(arguments.threads)
    plan = AdapterPlan(
        **{field.name: getattr(arguments, field.name) for field in fields(AdapterPlan)}
    )
    rng = random.Random(plan.seed)
    voices = read_voices(VOICES)
    gguf = find_gguf()
    check_gguf(gguf)
    with TemporaryDirectory() as folder:
        base = Path(folder)
        write_model(gguf, None, base)
        own = _own_answers(
            base, draw_questions(voices, plan.own_answers, rng), plan, arguments.threads
        )
        model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    train_adapter(
        model,
        tokenizer,
        [*own, *read_neutral(VOICES, voices, rng), *draw_voices(voices, plan.voices, rng)],
        plan,
        save=partial(write_adapter, folder=arguments.output, base_model=BASE_MODEL),
        report=lambda line: print(line, flush=True),
    )
    print(f"saved to {arguments.output}", flush=True)


if __name__ == "__main__":
    main()
