"""How the command shows things."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from persona_client.comparisons import ComparedAnswer, OneAnswer
from persona_client.results import (
    Completion,
    ConditionMet,
    LikelyToken,
    Status,
    TokenLogprob,
    Trait,
)

_NARROWEST_COLUMN = 24


_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def write(text: str) -> None:
    """Writes text at once; on a terminal, without characters that would control it."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Prints a value as JSON."""
    write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_json_line(value: Any) -> None:
    """Prints a value as one line of JSON, for readers of many of them."""
    write(json.dumps(value, ensure_ascii=False) + "\n")


def print_error(message: str) -> None:
    """Prints what went wrong as one line, apart from what is right."""
    print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Returns text without characters that would control a terminal."""
    return text.translate(_CONTROLS)


def plain_table(*titles: str, justify: JustifyMethod = "left") -> Table:
    """Returns a table without lines."""
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, justify=justify)
    return table


def shown(answer: OneAnswer) -> str:
    """Returns what stands for an answer: its text, and why there is no more of it."""
    if answer.success:
        return answer.response
    return f"{answer.response}\n[{answer.error}]".lstrip()


def print_comparison(answers: Sequence[ComparedAnswer]) -> None:
    """Prints answers side by side if the terminal has room for it, else one after the other."""
    console = Console(highlight=False)
    if console.is_terminal and console.width >= _NARROWEST_COLUMN * len(answers):
        table = Table(expand=True)
        for answer in answers:
            table.add_column(Text(printable(answer.label)), ratio=1, overflow="fold")
        table.add_row(*(Text(printable(shown(answer))) for answer in answers))
        console.print(table)
    else:
        write("\n".join(f"{answer.label}\n{shown(answer)}\n" for answer in answers))
    print_warnings(answers)
    # By their place, since several may have the same label.
    monitored = [(each.label, each) for each in answers if each.readouts is not None]
    if monitored:
        write("\n")
        print_readouts(monitored)
    conditions = [(each.label, each.condition) for each in answers if each.condition is not None]
    if conditions:
        print_conditions(conditions)
    print_limits((each.label, each) for each in answers)


def print_details(completion: Completion) -> None:
    """Prints what was asked for about an answer besides its text."""
    print_warnings([completion])
    if completion.logprobs is not None:
        write("\n")
        print_logprobs(completion.logprobs)
    if completion.readouts is not None:
        write("\n")
        print_readouts([("mean projection", completion)])
    if completion.condition is not None:
        print_conditions([("", completion.condition)])
    print_limits([("", completion)])


def print_conditions(conditions: Iterable[tuple[str, ConditionMet]]) -> None:
    """Prints a line for each answer whose steering had a condition."""
    write("\n")
    for title, condition in conditions:
        name = f"{printable(title)}: " if title else ""
        write(f"{name}{condition.met} of {condition.tokens} tokens met the condition\n")


def print_limits(answers: Iterable[tuple[str, Completion | OneAnswer]]) -> None:
    """Prints a line for each limit that an answer has reached."""
    lines = [(title, reached) for title, answer in answers for reached in answer.limits_reached]
    write("\n" if lines else "")
    for title, reached in lines:
        name = f"{title}: " if title else ""
        write(printable(f"{name}{reached}\n"))


def print_warnings(completions: Sequence[Completion | OneAnswer]) -> None:
    """Prints what there is to know about the answers' steering, apart from the answers."""
    for warning in dict.fromkeys(each for item in completions for each in item.warnings):
        print(f"warning: {printable(warning)}", file=sys.stderr)
    for enforced in dict.fromkeys(item.enforced for item in completions):
        if enforced is not None:
            print(f"enforced: {printable(str(enforced))}", file=sys.stderr)


def print_logprobs(logprobs: Sequence[TokenLogprob]) -> None:
    """Prints a line for each token: it, its probability, and the likeliest with theirs."""
    table = plain_table("token", "probability", "likeliest")
    for each in logprobs:
        likeliest = "  ".join(f"{quoted(top.token)} {_percent(top)}" for top in each.top_logprobs)
        table.add_row(Text(quoted(each.token)), _percent(each), Text(likeliest))
    Console(highlight=False).print(table)


def print_readouts(answers: Sequence[tuple[str, Completion | OneAnswer]]) -> None:
    """Prints a line for each monitored trait and layer, and a column for each answer.

    Below it is what a calibrated vector's readouts say.
    """
    rows = {
        (trait, layer): None
        for _, answer in answers
        for trait, means in (answer.readouts or {}).items()
        for layer in means
    }
    if not rows:
        write("nothing to read: an answer of one token has no hidden states of its own\n")
        return
    table = plain_table("monitored")
    table.add_column("layer", justify="right")
    for title, _ in answers:
        table.add_column(Text(title), justify="right")
    for trait, layer in rows:
        means = [(answer.readouts or {}).get(trait, {}).get(layer) for _, answer in answers]
        table.add_row(Text(trait), str(layer), *(_cell(mean, "+.2f") for mean in means))
        found = [answer.calibrated_readouts.get(trait, {}).get(layer) for _, answer in answers]
        if any(found):
            percentiles = [None if each is None else each.percentile for each in found]
            table.add_row("  percentile", "", *(_cell(each, ".1f") for each in percentiles))
            poles = [None if each is None else each.pole for each in found]
            table.add_row("  pole", "", *(_cell(each, ".2f") for each in poles))
    Console(highlight=False).print(table)


def _cell(number: float | None, form: str) -> str:
    return "" if number is None else format(number, form)


def quoted(token: str) -> str:
    """Returns a token's text as JSON, so that spaces and line ends are seen."""
    return json.dumps(token, ensure_ascii=False).translate(_CONTROLS)


def _percent(token: LikelyToken) -> str:
    return f"{100 * math.exp(token.logprob):.1f}%"


def print_traits(traits: Mapping[str, Trait]) -> None:
    """Prints a table of traits."""
    console = Console(highlight=False)
    if not traits:
        console.print("the server has no traits: put vectors into data/vectors")
        return
    table = plain_table("trait", "made from", "layers", "steers at", "calibrated")
    for name, trait in sorted(traits.items()):
        layers, selected = (
            ", ".join(map(str, blocks)) for blocks in (trait.layers, trait.selected_layers)
        )
        calibrated = "yes" if trait.calibrated else "no"
        table.add_row(Text(name), Text(trait.model_name), layers, selected, calibrated)
    console.print(table)
    for name, trait in sorted(traits.items()):
        for warning in trait.warnings:
            console.print(Text(f"{name}: {warning}"))
        if trait.calibration and not trait.calibrated:
            console.print(Text(f"{name}: {trait.calibration.get('reason')}"))


def print_status(status: Status) -> None:
    """Prints what a server says about itself."""
    lines = {
        "status": "ready" if status.ready else "not ready",
        "reason": status.error,
        "model": status.model,
        "device": status.device,
        "traits": ", ".join(status.available_traits),
        "calibrated": _calibrated(status.traits),
        "running": status.engine.get("running"),
        "waiting": status.engine.get("waiting"),
        "KV cache": _kv_cache(status.engine),
    }
    for name, value in lines.items():
        if value not in (None, ""):
            write(f"{name + ':':<11} {value}\n")
    for problem in status.problems:
        write(f"problem:    {problem.get('source')}: {problem.get('reason')}\n")


def _calibrated(traits: Mapping[str, Trait]) -> str:
    """Which traits' readouts and bounds can be percentiles."""
    found = [name for name, trait in sorted(traits.items()) if trait.calibrated]
    if traits and len(found) == len(traits):
        return "all of them"
    return ", ".join(found) or ("none of them" if traits else "")


def _kv_cache(engine: Mapping[str, Any]) -> str:
    if "kv_tokens_total" not in engine:
        return ""
    return f"{engine['kv_tokens_used']} of {engine['kv_tokens_total']} tokens"
