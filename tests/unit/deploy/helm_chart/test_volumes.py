"""Models are fetched once and served as fetched; claims and kernels outlive the containers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.unit.deploy.deployed_settings import kernel_cache
from tests.unit.deploy.helm import render
from tests.unit.deploy.helm_chart.cases import (
    KEYS,
    SHARED,
    of_kind,
    part_of,
    pods,
    rendered,
    variables,
)

MODELS = {
    "1.5b": ("ReadWriteOnce", "pod"),
    "ephemeral": ("ReadWriteOnce", "pod"),
    "hpa": ("ReadWriteMany", "job"),
    "everything": ("ReadWriteMany", "job"),
    "a claim of one's own": ("", ""),
    "demo": ("", ""),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_model_is_fetched_once_for_each_volume_and_never_written_by_who_serves_it(
    case: str,
) -> None:
    access, fetched_by = MODELS[case]
    resources = rendered(case)
    spec = part_of(resources, "triton")["spec"]
    mounts = {each["mountPath"]: each for each in spec["containers"][0]["volumeMounts"]}
    served = mounts.get("/data/models") or mounts["/data"]
    assert served["readOnly"] is True
    first = {each["name"]: each for each in spec.get("initContainers", [])}
    jobs = of_kind(resources, "Job")
    assert ("fetch-model" in first) == (fetched_by == "pod")
    assert ("wait-for-model" in first) == (fetched_by == "job") == bool(jobs)
    if fetched_by != "pod":
        volume = next(each for each in spec["volumes"] if each["name"] == served["name"])
        assert volume["persistentVolumeClaim"].get("readOnly", False) or case == "demo"
    if fetched_by == "job":
        assert "--wait=3600" in first["wait-for-model"]["command"]
        job = jobs[0]["spec"]["template"]["spec"]
        assert job["volumes"][1]["persistentVolumeClaim"]["claimName"] in {
            each["metadata"]["name"] for each in of_kind(resources, "PersistentVolumeClaim")
        }
        # Its volume is made where Tritons run.
        assert (job.get("nodeSelector"), job["tolerations"]) == (
            spec.get("nodeSelector"),
            spec["tolerations"],
        )
    claims = [each["spec"]["accessModes"] for each in of_kind(resources, "PersistentVolumeClaim")]
    claims += [
        each["ephemeral"]["volumeClaimTemplate"]["spec"]["accessModes"]
        for each in spec["volumes"]
        if "ephemeral" in each
    ]
    assert claims == ([[access]] if access else [])


def test_every_replica_serves_the_revision_that_was_fetched(
    resources: list[dict[str, Any]],
) -> None:
    revisions = {
        variables(container).get("MODEL_REVISION")
        for template in pods(resources).values()
        for container in [
            *template["spec"]["containers"],
            *template["spec"].get("initContainers", []),
        ]
        if container["name"] in ("triton", "fetch-model", "wait-for-model")
    }
    (revision,) = revisions
    assert revision is not None
    assert re.fullmatch(r"[0-9a-f]{40}|", revision)


def test_no_upgrade_changes_what_cannot_be_changed() -> None:
    """Claims and jobs are immutable: what differs in them must have another name."""
    bases = [
        render(*files, **{**KEYS, **values})
        for files, values in (
            (["values-1.5b.yaml"], {}),
            (["values-7b.yaml"], {}),
            ([], {"data": {"models": {"size": "90Gi"}}}),
            ([], {"data": {"models": {"storageClass": "other"}}}),
            ([], SHARED),
            ([], {**SHARED, "model": {"name": "Qwen/Qwen2.5-7B-Instruct"}}),
            ([], {**SHARED, "model": {"revision": "b" * 40}}),
            ([], {**SHARED, "triton": {"image": {"tag": "2"}}}),
            ([], {"data": {"existingClaim": "mine"}}),
        )
    ]
    seen: dict[tuple[str, str], Any] = {}
    for resources in bases:
        for resource in resources:
            if resource["kind"] in ("PersistentVolumeClaim", "Job"):
                key = (resource["kind"], resource["metadata"]["name"])
                assert seen.setdefault(key, resource["spec"]) == resource["spec"]
            if resource["kind"] == "Deployment":
                name = (resource["kind"], resource["metadata"]["name"])
                selector = resource["spec"]["selector"]
                assert seen.setdefault(name, selector) == selector
        assert not of_kind(resources, "StatefulSet")
    claims = [name for kind, name in seen if kind == "PersistentVolumeClaim"]
    # Both sizes of model have one claim.
    assert len(claims) == 4
    assert len([name for kind, name in seen if kind == "Job"]) == 4


def test_a_claim_is_kept_if_that_is_asked_for() -> None:
    for case, kept in (("everything", True), ("1.5b", False)):
        (claim,) = of_kind(rendered(case), "PersistentVolumeClaim")
        policy = claim["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert (policy == "keep") == kept


def test_compiled_kernels_outlive_the_container(resources: list[dict[str, Any]]) -> None:
    spec = part_of(resources, "triton")["spec"]
    mounts = {each["mountPath"]: each for each in spec["containers"][0]["volumeMounts"]}
    mount = mounts[kernel_cache()]
    assert not mount.get("readOnly")
    (volume,) = (each for each in spec["volumes"] if each["name"] == mount["name"])
    # On disk: in memory they would be part of the container's limit.
    assert volume["emptyDir"].keys() == {"sizeLimit"}
