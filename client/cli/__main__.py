"""Runs the command: `python -m persona_client.cli`."""

from persona_client.cli.app import main

main()
