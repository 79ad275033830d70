"""The gateway's labels have no names that clients choose for the vectors they send."""

from __future__ import annotations

import json

import numpy as np

from gateway.observability.metrics import GatewayMetrics
from tests.unit.gateway.observability.observed import watch
from tests.unit.gateway.observability.test_metrics import scraped
from triton_models.contract.request_vectors import COUNTED_AS, encoded_vectors
from triton_models.grpc_messages import TritonChunk


def test_all_vectors_of_requests_have_one_label() -> None:
    metrics = GatewayMetrics()
    names = ("mine", "yours")
    vectors = encoded_vectors({name: {1: np.ones(4, np.float32)} for name in names})
    operations = [{"trait": name, "kind": "ablate"} for name in names]
    steering = json.dumps({"operations": operations})
    seen = watch(metrics, vectors=[json.dumps(vectors)], steering=[steering])
    seen.began()
    reached = [{"trait": each, "action": "stop"} for each in (*names, "sarcasm")]
    seen.received(
        TritonChunk(
            num_output_tokens=1, finish_reason="trait_limit", report={"limits_reached": reached}
        )
    )
    seen.ended(None)
    after = scraped(metrics)
    assert after.labels("trait") == {COUNTED_AS, "sarcasm"}
    assert after.get("persona_gateway_steered_requests_total", trait=COUNTED_AS) == 1
    assert after.get("persona_gateway_limits_reached_total", trait=COUNTED_AS) == 2
