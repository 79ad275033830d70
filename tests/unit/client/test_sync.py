"""The synchronous client says what the asynchronous one does."""

from __future__ import annotations

import runpy

from triton_models.settings import REPOSITORY_ROOT


def test_the_synchronous_client_is_the_one_made_of_the_asynchronous_one() -> None:
    script = runpy.run_path(str(REPOSITORY_ROOT / "scripts" / "make_sync_client.py"))
    made = script["synchronous"](script["SOURCE"].read_text())
    assert script["TARGET"].read_text() == made, "run scripts/make_sync_client.py"
