"""The contract between the models and their callers needs the standard library only."""

from __future__ import annotations

import json
import subprocess
import sys

from triton_models.settings import REPOSITORY_ROOT

CONTRACT = REPOSITORY_ROOT / "triton_models" / "contract"
SCRIPT = """
import importlib, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(f"triton_models.contract.{name}")
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_the_contract_imports_nothing_above_it() -> None:
    names = [path.stem for path in CONTRACT.glob("[!_]*.py")]
    assert {"tensors", "request", "prompt", "errors", "buckets"} <= set(names)
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names],
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(json.loads(result.stdout))
    ours = {name for name in imported if name.partition(".")[0] == "triton_models"}
    contract = {f"triton_models.contract.{name}" for name in names}
    assert ours == {"triton_models", "triton_models.contract", *contract}
    assert {name.partition(".")[0] for name in imported - ours} <= sys.stdlib_module_names
