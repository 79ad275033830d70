"""What Triton tells an instance of a model about itself.

Triton starts one instance of `steered_qwen` on each GPU, or one on the CPU if it finds none. Each
has its own process, engine and copy of the model.
"""

from __future__ import annotations

from collections.abc import Mapping

from triton_models.settings import ServerSettings


def settings_of_instance(settings: ServerSettings, args: Mapping[str, str]) -> ServerSettings:
    """Returns the settings with the GPU of an instance, if it has one."""
    if args["model_instance_kind"] != "GPU":
        return settings
    return settings.model_copy(update={"device_index": int(args["model_instance_device_id"])})


def metric_labels(args: Mapping[str, str]) -> dict[str, str]:
    """Returns the labels of an instance's metrics.

    The first two are those of Triton's own metrics. The third is not called `instance`, which
    Prometheus reserves for the server.
    """
    return {
        "model": args["model_name"],
        "version": args["model_version"],
        "model_instance": args["model_instance_name"],
    }
