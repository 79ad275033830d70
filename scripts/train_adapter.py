#!/usr/bin/env python3
"""Trains the embedded model's adapter on `data/voices` and on the model's own answers."""

from __future__ import annotations

import argparse
import random
from dataclasses import fields
from functools import partial
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from persona_embedded.adapter import BASE_MODEL, write_adapter
from persona_embedded.conversations import (
    Conversation,
    draw_questions,
    draw_voices,
    read_neutral,
)
from persona_embedded.training import AdapterPlan, train_adapter
from persona_research.model import AnswerRequest, ResearchModel
from triton_models.model.folder import load_tokenizer
from triton_models.settings import DATA_ROOT


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path, help="the unadapted model's folder")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--voices-folder", type=Path, default=DATA_ROOT / "voices")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    for field in fields(AdapterPlan):
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=type(field.default), default=field.default)
    return parser.parse_args()


def _own_answers(
    base: Path, questions: list[str], plan: AdapterPlan, threads: int
) -> list[Conversation]:
    """Asks the unadapted model, greedily."""
    with ResearchModel.open(str(base), threads=threads) as model:
        requests = [
            AnswerRequest(
                model.encode_chat([{"role": "user", "content": question}]),
                max_new_tokens=plan.own_tokens,
            )
            for question in questions
        ]
        answers = model.answers(requests, lambda done: print(f"answered {done}", flush=True))
    return [
        Conversation(question, answer.text, ended=answer.ended)
        for question, answer in zip(questions, answers, strict=True)
    ]


def main() -> None:
    """Asks, trains and saves."""
    arguments = _parse_arguments()
    torch.set_num_threads(arguments.threads)
    plan = AdapterPlan(
        **{field.name: getattr(arguments, field.name) for field in fields(AdapterPlan)}
    )
    rng = random.Random(plan.seed)
    voices: Path = arguments.voices_folder
    questions = draw_questions(voices, plan.own_answers, rng)
    own = _own_answers(arguments.base, questions, plan, arguments.threads)
    conversations = [*own, *read_neutral(voices), *draw_voices(voices, plan.voices, rng)]
    model = LlamaForCausalLM.from_pretrained(arguments.base, dtype=torch.float32)
    train_adapter(
        model,
        load_tokenizer(arguments.base),
        conversations,
        plan,
        partial(write_adapter, folder=arguments.output, base_model=BASE_MODEL),
        report=lambda line: print(line, flush=True),
    )
    print(f"saved to {arguments.output}", flush=True)


if __name__ == "__main__":
    main()
