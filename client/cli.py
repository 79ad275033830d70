"""The `persona` command."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from client import chat_cli, compare_cli, evaluate_cli, protocol, research_cli, upload_cli
from client import cli_options as cli
from client import cli_output as output
from client.keys_cli import keys_app
from client.rest import PersonaClient
from client.vectors_cli import vectors_app

app = typer.Typer(
    # No option takes a key: other users of a machine can see what a command line says.
    help=(
        "Text from a steered Qwen2.5: the traits of its answers turned up and down. A gateway that "
        "needs an API key is sent that of PERSONA_API_KEY."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
traits_app = typer.Typer(invoke_without_command=True)
traits_app.command("evaluate-prompts")(research_cli.evaluate_prompts)
vectors_app.command("upload")(upload_cli.upload)
vectors_app.command("remove")(upload_cli.remove)
vectors_app.command("extract")(research_cli.extract)
vectors_app.command("evaluate")(evaluate_cli.evaluate)
app.command("compare")(compare_cli.compare)
app.command("sweep")(compare_cli.sweep)
app.command("chat")(chat_cli.chat)
app.add_typer(keys_app, name="keys")
app.add_typer(traits_app, name="traits")
app.add_typer(vectors_app, name="vectors")

Logprobs = Annotated[
    int | None,
    typer.Option(help="Shows each token's probability, and so many of the likeliest; 0 to 20."),
]


@app.command()
def generate(
    prompt: cli.Prompt,
    trait: Annotated[str | None, typer.Option(help="The trait to steer; none: baseline.")] = None,
    scalar: Annotated[
        float | None, typer.Option(help="Above 0 for more of the trait, below for less.")
    ] = None,
    system: cli.System = None,
    max_tokens: cli.MaxTokens = None,
    temperature: cli.Temperature = None,
    top_p: cli.TopP = None,
    top_k: cli.TopK = None,
    seed: cli.Seed = None,
    stop: cli.Stop = None,
    raw: cli.Raw = False,
    monitor: cli.Monitor = None,
    logprobs: Logprobs = None,
    as_json: cli.Json = False,
    url: cli.Url = protocol.DEFAULT_URL,
) -> None:
    """Answer a prompt, printing the text as it arrives."""
    if (trait is None) != (scalar is None):
        raise typer.BadParameter("give --trait and --scalar together, or neither for a baseline")
    options = cli.sampling(
        system_prompt=system,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        stop=stop,
        raw=raw,
        monitor=monitor,
        logprobs=logprobs,
    )

    def run(client: PersonaClient, text: str) -> None:
        if as_json:
            if trait is None:
                completion = client.baseline(text, **options)
            else:
                completion = client.generate(text, trait=trait, scalar=scalar or 0.0, **options)
            output.print_json(dataclasses.asdict(completion))
            return
        with client.stream(text, trait=trait, scalar=scalar or 0.0, **options) as stream:
            for chunk in stream:
                output.write(chunk.text)
        output.write("\n")
        output.print_details(stream.completion)

    cli.call_with_prompt(url, prompt, run)


@traits_app.callback()
def traits(
    context: typer.Context, as_json: cli.Json = False, url: cli.Url = protocol.DEFAULT_URL
) -> None:
    """List the traits that the server has."""
    if context.invoked_subcommand is not None:
        return

    def run(client: PersonaClient) -> None:
        found = client.traits()
        if as_json:
            output.print_json({name: dataclasses.asdict(trait) for name, trait in found.items()})
        else:
            output.print_traits(found)

    cli.call(url, run)


@app.command()
def status(as_json: cli.Json = False, url: cli.Url = protocol.DEFAULT_URL) -> None:
    """Say what the server serves, and whether it is ready; if not, exit with status 1."""

    def run(client: PersonaClient) -> None:
        found = client.status()
        if as_json:
            output.print_json(dataclasses.asdict(found))
        else:
            output.print_status(found)
        if not found.ready:
            raise typer.Exit(1)

    cli.call(url, run)


def main() -> None:
    """Runs the command."""
    app()


if __name__ == "__main__":
    main()
