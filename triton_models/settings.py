"""The model server's settings, and the variables that other programs read as well."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from triton_models import control
from triton_models.contract.request import GenerationDefaults
from triton_models.variables import Flag, Variables, variable

REPOSITORY_ROOT = Path(__file__).resolve().parent.parent
DATA_ROOT = REPOSITORY_ROOT / "data"
DEMO = "demo"
"""What `MODEL_NAME` calls the demo model."""
DEMO_MODEL = "persona-demo"
"""What users and vector files call it."""
DEFAULT_MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
"""The hub model that examples and downloads use by default; its licence is Apache 2.0."""
DEMO_MODEL_FOLDER = DATA_ROOT / "models" / "demo"


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _usable(secret: SecretStr) -> SecretStr:
    control.checked_key(secret.get_secret_value())
    return secret


Device = Literal["auto", "cpu", "cuda"]
LogFormat = Literal["text", "json"]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]
Port = Annotated[int, Field(ge=1, le=65_535)]
TritonSecret = Annotated[SecretStr, AfterValidator(_usable)]

# The variables that several programs read. Those whose default depends on the program are partial.
MODEL_NAME = variable(
    DEMO,
    "the model: a hub id, a folder, or `demo` for the demo model that comes with the project; "
    "`serve.sh` takes the embedded model if this is not set",
    name="MODEL_NAME",
)
MODEL_CACHE_DIR = variable(DATA_ROOT / "models", "the folder of hub models", name="MODEL_CACHE_DIR")
VECTORS_DIR = variable(
    DATA_ROOT / "vectors",
    "the folder of vector files, the same for Triton and its gateways; `serve.sh` takes the "
    "embedded model's if it serves that",
    name="VECTORS_DIR",
)
DEVICE = variable("auto", "`cpu`, `cuda`, or `auto` for a GPU if there is one", name="DEVICE")
MAX_TOKENS = partial(
    variable,
    description="tokens that an answer may have whose request does not say",
    name="MAX_TOKENS",
    ge=1,
    le=1_000_000,
)
TEMPERATURE = partial(
    variable,
    description="temperature of requests that leave it out",
    name="TEMPERATURE",
    ge=0.0,
    le=2.0,
)
TOP_P = partial(
    variable, description="`top_p` of requests that leave it out", name="TOP_P", ge=0.001, le=1.0
)
LOG_LEVEL = variable(
    "INFO",
    "the least severe lines that the gateway and the engine log: `DEBUG`, `INFO`, `WARNING` or "
    "`ERROR`",
    name="LOG_LEVEL",
)
LOG_FORMAT = variable("text", "`text` for people, `json` for machines", name="LOG_FORMAT")
HOST = variable("0.0.0.0", "the address that the gateway listens on", name="HOST")
PORT = variable(8000, "the gateway's port", name="PORT")
SHUTDOWN_TIMEOUT = partial(
    variable,
    description="seconds that open answers may go on after the gateway gets SIGTERM",
    name="SHUTDOWN_TIMEOUT",
    ge=0,
    le=86_400,
)
TRITON_ACCESS_KEY = variable(
    SecretStr(""),
    "the secret that Triton asks for before it generates, the same for all Tritons, gateways and "
    "direct clients; `serve.sh` and `persona-pod` make a new one if there are API keys, a policy, "
    "limits or an audit log, or if Triton listens beyond loopback; the image `persona-triton` "
    "needs it ([security.md](security.md#tritons-ports))",
    name=control.ACCESS_VARIABLE,
)


def shown_name(model: str) -> str:
    """Returns the name that users see of what `MODEL_NAME` says; never a folder's path."""
    if model == DEMO:
        return DEMO_MODEL
    return Path(model).resolve().name if Path(model).is_dir() else model


class ServerSettings(Variables):
    """How to load and run the model.

    Attributes:
        device_index: Which GPU, if there are several; Triton says so to each instance.
    """

    model_name: str = MODEL_NAME
    model_revision: str = variable(
        "",
        "the commit, branch or tag of a hub model, for the download and for the server; without "
        "one it is the main branch, which can change between two downloads",
    )
    model_cache: Path = MODEL_CACHE_DIR
    vectors: Path = VECTORS_DIR
    device: Device = DEVICE
    device_index: int = 0
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = variable(
        "auto",
        "`float32`, `bfloat16` or `float16`; `auto` is float32 on the CPU and the checkpoint's "
        "own on a GPU",
    )
    max_batch_rows: int = variable(32, "requests in a batch", ge=1, le=1024)
    max_waiting: int = variable(
        256,
        "requests that may wait for a place in the batch before others are refused",
        ge=0,
        le=100_000,
    )
    max_context: int = variable(
        4096,
        "tokens of a prompt and its answer together; the model's own limit caps it",
        ge=16,
        le=1_000_000,
    )
    # How 0 adapts it is in `engine/prompt_pace.py`.
    prefill_chunk: int = variable(
        0,
        "prompt tokens computed per step, so that a long prompt does not delay answers that are "
        "being streamed; 0 is 2048 on a GPU and as many on the CPU as fit into 0.15 s beside "
        "streaming answers, 1 s otherwise",
        ge=0,
        le=65_536,
    )
    kv_cache_tokens: int = variable(
        0,
        "tokens that the KV cache may hold; 0 is as many as the rows may need and memory allows "
        "(a CPU's memory is taken as requests need it)",
        ge=0,
        le=100_000_000,
    )
    prefix_reuse: Flag = variable(
        True,
        "whether keys and values of a prompt's beginning are reused that was computed under the "
        "same steering before",
    )
    cpu_packing: Flag = variable(
        True, "whether linear layers are packed for fast matrix products on the CPU"
    )
    cuda_graphs: Flag = variable(True, "whether steps on a GPU are replayed as CUDA graphs")
    fused_kernels: Flag = variable(
        True, "whether the fused kernels are used on a GPU where they fit"
    )
    overlap: Literal["auto", "on", "off"] = variable(
        "auto",
        "whether a step is launched before the previous one is read: `on`, `off`, or `auto` for "
        "on a GPU only, so that it does not wait for Python",
        name="OVERLAP_STEPS",
    )
    threads: int = variable(
        0, "CPU threads of the model; 0 is one per core", name="TORCH_THREADS", ge=0, le=1024
    )
    max_tokens: int = MAX_TOKENS(GenerationDefaults().max_tokens)
    temperature: float = TEMPERATURE(GenerationDefaults().temperature)
    top_p: float = TOP_P(GenerationDefaults().top_p)
    log_level: LogLevel = LOG_LEVEL
    log_format: LogFormat = LOG_FORMAT

    @property
    def defaults(self) -> GenerationDefaults:
        """The values of parameters that requests leave out."""
        return GenerationDefaults(self.max_tokens, self.temperature, self.top_p)

    @property
    def shown_model_name(self) -> str:
        """The model's name as users see it."""
        return shown_name(self.model_name)
