"""The model server's configuration, read from environment variables and validated."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from triton_models.contract.request import GenerationDefaults

DEVICES = ("auto", "cpu", "cuda")
OVERLAPS = ("auto", "on", "off")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_FORMATS = ("text", "json")
DTYPES = ("auto", "float32", "bfloat16", "float16")

REPOSITORY_ROOT = Path(__file__).resolve().parent.parent
DATA_ROOT = REPOSITORY_ROOT / "data"
DEMO_MODEL = "persona-demo"
DEFAULT_MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
"""The hub model that examples and downloads use by default; its licence is Apache 2.0."""
DEMO_MODEL_FOLDER = DATA_ROOT / "models" / "demo"

_Number = TypeVar("_Number", int, float)


class SettingsError(ValueError):
    """An environment variable has an invalid value."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How to load and run the model.

    Attributes:
        model_name: A hub id or a folder; `""` means the demo model that comes with the project.
        model_revision: The commit, branch or tag of a hub model; `""` means its main branch, which
            can change between two downloads.
        model_cache: The folder of hub models.
        vectors: The folder of vector files.
        device: `auto` uses a GPU if there is one.
        device_index: Which GPU, if there are several.
        dtype: `auto` is float32 on the CPU and the checkpoint's dtype on a GPU.
        max_batch_rows: The maximum number of requests in a batch.
        max_waiting: How many more requests may wait for a row before requests are refused.
        max_context: The maximum number of tokens of a prompt and its answer together; the model's
            own limit caps it.
        prefill_chunk: The maximum number of prompt tokens per step, so that a long prompt does not
            delay the answers that are being streamed; 0 adapts it (`engine/prompt_pace.py`).
        kv_cache_tokens: The size of the KV cache in tokens; 0 is enough for all rows at full
            length, as far as memory allows.
        prefix_reuse: Whether to copy the keys and values of a prompt's prefix that was computed
            under the same steering before.
        cpu_packing: Whether to pack linear layers for fast matrix products on the CPU.
        cuda_graphs: Whether to replay steps as CUDA graphs on a GPU.
        fused_kernels: Whether to use the fused kernels on a GPU where they fit.
        overlap: Whether to launch a step before the previous one is read: `auto` does on a GPU, so
            that it does not wait for Python.
        threads: CPU threads for the model; 0 means one per core.
        log_level: The lowest level that is logged.
        log_format: `text` for people, `json` for machines.
        defaults: The values of parameters that requests leave out.
    """

    model_name: str = ""
    model_revision: str = ""
    model_cache: Path = DATA_ROOT / "models"
    vectors: Path = DATA_ROOT / "vectors"
    device: str = "auto"
    device_index: int = 0
    dtype: str = "auto"
    max_batch_rows: int = 32
    max_waiting: int = 256
    max_context: int = 4096
    prefill_chunk: int = 0
    kv_cache_tokens: int = 0
    prefix_reuse: bool = True
    cpu_packing: bool = True
    cuda_graphs: bool = True
    fused_kernels: bool = True
    overlap: str = "auto"
    threads: int = 0
    log_level: str = "INFO"
    log_format: str = "text"
    defaults: GenerationDefaults = field(default_factory=GenerationDefaults)

    @property
    def shown_model_name(self) -> str:
        """The model's name as users see it; never the path of a folder."""
        if Path(self.model_name).is_dir():
            return Path(self.model_name).resolve().name if self.model_name else DEMO_MODEL
        return self.model_name


def read_settings(environment: Mapping[str, str] | None = None) -> ServerSettings:
    """Reads the settings from environment variables.

    Args:
        environment: The variables; by default the process's own.

    Raises:
        SettingsError: A variable has an invalid value; the message says what is valid.
    """
    env = _Environment(os.environ if environment is None else environment)
    base = ServerSettings()
    return ServerSettings(
        model_name=env.text("MODEL_NAME", ""),
        model_revision=env.text("MODEL_REVISION", ""),
        model_cache=Path(env.text("MODEL_CACHE_DIR", str(base.model_cache))),
        vectors=Path(env.text("VECTORS_DIR", str(base.vectors))),
        device=env.choice("DEVICE", base.device, DEVICES),
        dtype=env.choice("DTYPE", base.dtype, DTYPES),
        max_batch_rows=env.integer("MAX_BATCH_ROWS", base.max_batch_rows, 1, 1024),
        max_waiting=env.integer("MAX_WAITING", base.max_waiting, 0, 100_000),
        max_context=env.integer("MAX_CONTEXT", base.max_context, 16, 1_000_000),
        prefill_chunk=env.integer("PREFILL_CHUNK", base.prefill_chunk, 0, 65_536),
        kv_cache_tokens=env.integer("KV_CACHE_TOKENS", base.kv_cache_tokens, 0, 100_000_000),
        prefix_reuse=env.boolean("PREFIX_REUSE", base.prefix_reuse),
        cpu_packing=env.boolean("CPU_PACKING", base.cpu_packing),
        cuda_graphs=env.boolean("CUDA_GRAPHS", base.cuda_graphs),
        fused_kernels=env.boolean("FUSED_KERNELS", base.fused_kernels),
        overlap=env.choice("OVERLAP_STEPS", base.overlap, OVERLAPS),
        threads=env.integer("TORCH_THREADS", base.threads, 0, 1024),
        log_level=env.choice("LOG_LEVEL", base.log_level, LOG_LEVELS, fold=str.upper),
        log_format=env.choice("LOG_FORMAT", base.log_format, LOG_FORMATS),
        defaults=GenerationDefaults(
            max_tokens=env.integer("MAX_TOKENS", base.defaults.max_tokens, 1, 1_000_000),
            temperature=env.real("TEMPERATURE", base.defaults.temperature, 0.0, 2.0),
            top_p=env.real("TOP_P", base.defaults.top_p, 0.001, 1.0),
        ),
    )


class _Environment:
    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str) -> str:
        return self._variables.get(name, "").strip() or default

    def choice(
        self,
        name: str,
        default: str,
        choices: tuple[str, ...],
        fold: Callable[[str], str] = lambda text: text,
    ) -> str:
        value = fold(self.text(name, default))
        if value not in choices:
            raise SettingsError(f"{name} is {value!r}: use one of {', '.join(choices)}")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        return self.choice(name, str(default).lower(), ("true", "false")) == "true"

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        return self._number(name, default, low, high, int, "an integer")

    def real(self, name: str, default: float, low: float, high: float) -> float:
        return self._number(name, default, low, high, float, "a number")

    def _number(
        self,
        name: str,
        default: _Number,
        low: _Number,
        high: _Number,
        convert: Callable[[str], _Number],
        kind: str,
    ) -> _Number:
        text = self.text(name, str(default))
        try:
            value = convert(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise SettingsError(f"{name} is {text!r}: use {kind} from {low} to {high}")
        return value
