"""What an instance of a model learns from Triton about itself.

Triton starts one instance of `steered_qwen` on each GPU, or one on the CPU where it sees none. Each
has a process, an engine and a copy of the model of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from triton_models.settings import ServerSettings, SettingsError


def settings_of_instance(settings: ServerSettings, args: Mapping[str, str]) -> ServerSettings:
    """Returns the settings with the GPU that an instance is meant for, if it is meant for one.

    Args:
        settings: The server's settings.
        args: What Triton gives to `initialize`.

    Raises:
        SettingsError: Several GPUs are to share a model, but Triton has an instance on each.
    """
    if args["model_instance_kind"] != "GPU":
        return settings
    gpu, shared = int(args["model_instance_device_id"]), settings.tensor_parallel
    if gpu % shared:
        raise SettingsError(
            f"TENSOR_PARALLEL is {shared}, so GPU {gpu} belongs to the instance on GPU "
            f"{gpu - gpu % shared}: give steered_qwen's config.pbtxt the instance_group "
            f"[ {{ count: 1, kind: KIND_GPU, gpus: [ 0 ] }} ], with every {shared}. GPU named"
        )
    return dataclasses.replace(settings, device_index=gpu)


def metric_labels(args: Mapping[str, str]) -> dict[str, str]:
    """Returns the labels that tell an instance's metrics from others'.

    The first two are those of Triton's own metrics. `instance` would be the third's natural name,
    but Prometheus keeps that for the server.

    Args:
        args: What Triton gives to `initialize`.
    """
    return {
        "model": args["model_name"],
        "version": args["model_version"],
        "model_instance": args["model_instance_name"],
    }
