"""What loading a model brings along."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from triton_models.settings import DEMO_MODEL_FOLDER

LOAD = """
import json, resource, sys
from pathlib import Path
from triton_models.engine.build import build_engine
from triton_models.settings import ServerSettings
settings = ServerSettings(model_name=sys.argv[1], vectors=Path(sys.argv[2]), device="cpu")
engine = build_engine(settings).engine
engine.start()
engine.stop(0)
print(json.dumps(sorted(sys.modules)))
"""


def test_the_engine_imports_no_transformers_and_no_compiler(tmp_path: Path) -> None:
    """A model that has died is back once its process has imported what it needs."""
    command = [sys.executable, "-c", LOAD, str(DEMO_MODEL_FOLDER), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(json.loads(ran.stdout.splitlines()[-1]))
    assert "triton_models.model.transformer" in modules
    assert not modules & {"torch._dynamo", "torch.distributed.tensor", "transformers"}
