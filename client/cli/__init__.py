"""The `persona` command, which needs typer and rich besides what the clients need."""
