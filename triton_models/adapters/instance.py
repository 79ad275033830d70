"""What an instance of a model learns from Triton about itself.

Triton starts one instance of `steered_qwen` on each GPU, or one on the CPU where it sees none. Each
has a process, an engine and a copy of the model of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from triton_models.settings import ServerSettings


def settings_of_instance(settings: ServerSettings, args: Mapping[str, str]) -> ServerSettings:
    """Returns the settings with the GPU that an instance is meant for, if it is meant for one.

    Args:
        settings: The server's settings.
        args: What Triton gives to `initialize`.
    """
    if args["model_instance_kind"] != "GPU":
        return settings
    return dataclasses.replace(settings, device_index=int(args["model_instance_device_id"]))


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
