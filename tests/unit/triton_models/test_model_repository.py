"""Each config.pbtxt declares just the tensors that `triton_models.contract.tensors` defines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from triton_models.contract import tensors
from triton_models.contract.tensors import TensorSpec

REPOSITORY = Path(__file__).parents[3] / "model_repository"
TYPE_NAMES = {"BYTES": "TYPE_STRING"}


def read_config(model: str) -> Any:
    text = (REPOSITORY / model / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def declared(items: Any) -> set[tuple[str, str, tuple[int, ...], bool]]:
    return {
        (
            item.name,
            model_config_pb2.DataType.Name(item.data_type),
            tuple(item.dims),
            bool(getattr(item, "optional", False)),
        )
        for item in items
    }


def defined(specs: tuple[TensorSpec, ...], inputs: bool) -> set[Any]:
    return {
        (
            spec.name,
            TYPE_NAMES.get(spec.datatype, f"TYPE_{spec.datatype}"),
            (spec.length,),
            spec.optional and inputs,
        )
        for spec in specs
    }


@pytest.mark.parametrize("model", tensors.MODELS)
def test_a_model_declares_the_tensors_defined_for_it(model: str) -> None:
    config = read_config(model)
    inputs, outputs = tensors.MODELS[model]
    assert config.name == model
    assert config.max_batch_size == 0
    assert declared(config.input) == defined(inputs, inputs=True)
    assert declared(config.output) == defined(outputs, inputs=False)


def test_the_ensemble_passes_every_tensor_to_every_step_that_knows_it() -> None:
    steps = {step.model_name: step for step in read_config("persona").ensemble_scheduling.step}
    names = {model: {spec.name for spec in specs[0]} for model, specs in tensors.MODELS.items()}
    control = {tensors.STOP.name, tensors.DESCRIBE.name}
    assert set(steps) == {"tokenizer", "steered_qwen", "detokenizer"}
    for model, step in steps.items():
        assert set(step.input_map) == names[model] - control
    assert set(steps["detokenizer"].output_map) == {s.name for s in tensors.PERSONA_OUTPUTS}


def test_no_input_of_the_ensemble_has_an_output_s_name() -> None:
    # They share one set of names: Triton takes two of one name for the same tensor.
    config = read_config("persona")
    assert not {each.name for each in config.input} & {each.name for each in config.output}


def test_the_language_model_has_an_instance_for_each_gpu_or_one_on_the_cpu() -> None:
    (group,) = read_config("steered_qwen").instance_group
    assert (group.count, group.kind) == (1, model_config_pb2.ModelInstanceGroup.KIND_AUTO)


def test_only_the_language_model_is_decoupled_and_the_detokenizer_keeps_order() -> None:
    assert read_config("steered_qwen").model_transaction_policy.decoupled
    assert read_config("detokenizer").instance_group[0].count == 1
