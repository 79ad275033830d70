"""Makes the vector files of this folder with the code of the tools that the formats come from.

It runs in an environment of its own, since these tools want more than the project does; README.md
says which, and from where. The model is the tests' tiny one, so the files are small.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))

from tests.tiny_model import HIDDEN_SIZE, NUM_LAYERS, make_model, make_tokenizer  # noqa: E402

PROMPT = "Say something about the sea."
NEW_TOKENS = 24
TRAIT = "sarcastic"
PERSONA_VECTORS_COEFFICIENT = 4.0
REPENG_COEFFICIENT = 6.0


def main() -> None:
    """Makes every file."""
    parser = argparse.ArgumentParser(description=__doc__)
    for tool in ("persona-vectors", "activation-steering", "easysteer"):
        parser.add_argument(f"--{tool}", type=Path, required=True, help=f"folder of {tool}'s code")
    arguments = parser.parse_args()
    expected = {
        "prompt_ids": make_tokenizer()(PROMPT, add_special_tokens=False)["input_ids"],
        "repeng": make_repeng(),
        "persona_vectors": make_persona_vectors(arguments.persona_vectors),
    }
    make_activation_steering(arguments.activation_steering)
    make_easysteer(arguments.easysteer)
    make_cvector_generator()
    (HERE / "expected.json").write_text(json.dumps(expected) + "\n")


def make_repeng() -> dict[str, Any]:
    """Trains and exports a vector with repeng, and generates with its own model."""
    from repeng import ControlModel, ControlVector, DatasetEntry

    model = ControlModel(make_model(), list(range(1, NUM_LAYERS)))
    dataset = [
        DatasetEntry(positive=f"I love {thing}, sure", negative=f"I see {thing}, fine")
        for thing in ("rain", "mud", "queues", "noise", "dust", "delay")
    ]
    vector = ControlVector.train(model, make_tokenizer(), dataset, batch_size=4)
    vector.export_gguf(HERE / "repeng.gguf")
    model.set_control(vector, REPENG_COEFFICIENT)
    tokens = generate(model)
    model.reset()
    return {
        "coefficient": REPENG_COEFFICIENT,
        "tokens": tokens,
        "unsteered": generate(model),
        "directions": {str(k): list(map(float, v)) for k, v in vector.directions.items()},
    }


def make_persona_vectors(code: Path) -> dict[str, Any]:
    """Extracts vectors with persona_vectors, and generates with its own steering at each layer."""
    sys.path.insert(0, str(code))
    generate_vec = importlib.import_module("generate_vec")
    steerer = importlib.import_module("activation_steer").ActivationSteerer
    with tempfile.TemporaryDirectory() as folder:
        make_model().save_pretrained(f"{folder}/model")
        make_tokenizer().save_pretrained(f"{folder}/model")
        for pole, trait_score, text in (("pos", 90, "oh, great"), ("neg", 5, "it is so")):
            with open(f"{folder}/{pole}.csv", "w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["prompt", "answer", TRAIT, "coherence"])
                rows.writerows([f"What of {i}? ", f"{text} {i}", trait_score, 90] for i in range(4))
        generate_vec.save_persona_vector(
            f"{folder}/model", f"{folder}/pos.csv", f"{folder}/neg.csv", TRAIT, str(HERE),
            device="cpu", dtype="float32",
        )  # fmt: skip
    for unused in ("prompt_avg", "prompt_last"):
        (HERE / f"{TRAIT}_{unused}_diff.pt").unlink()
    rows = torch.load(HERE / f"{TRAIT}_response_avg_diff.pt", weights_only=True)
    tokens = {}
    for layer in range(1, NUM_LAYERS):
        model = make_model()
        # As its eval_persona.py does: row `layer` of the file, at block `layer - 1`.
        with steerer(
            model,
            rows[layer],
            coeff=PERSONA_VECTORS_COEFFICIENT,
            layer_idx=layer - 1,
            positions="all",
        ):
            tokens[str(layer)] = generate(model)
    return {
        "coefficient": PERSONA_VECTORS_COEFFICIENT,
        "tokens": tokens,
        "unsteered": generate(make_model()),
    }


def make_activation_steering(code: Path) -> None:
    """Saves a `.svec` with activation-steering."""
    sys.path.insert(0, str(code))
    steering_vector = importlib.import_module("activation_steering.steering_vector")
    directions = some_vectors(range(1, NUM_LAYERS), seed=1)
    steering_vector.SteeringVector(
        model_type="qwen2",
        directions=directions,
        explained_variances={layer: 0.5 + layer / 16 for layer in directions},
    ).save(str(HERE / "activation_steering.svec"))


def make_easysteer(code: Path) -> None:
    """Exports a vector with EasySteer, which writes block 0 too."""
    sys.path.insert(0, str(code))
    utilities = importlib.import_module("utils")
    utilities.StatisticalControlVector(
        method="diffmean",
        directions=some_vectors(range(NUM_LAYERS), seed=2),
        metadata={"normalize": 1},
        model_type="qwen2",
    ).export_gguf(HERE / "easysteer.gguf")
    torch.save(torch.from_numpy(some_vectors([2], seed=3)[2]), HERE / "easysteer_layer_2.pt")


def make_cvector_generator() -> None:
    """Writes what llama.cpp's cvector-generator does: block b's vector is direction.{b + 1}."""
    writer = gguf.GGUFWriter(HERE / "cvector_generator.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", "qwen2")
    writer.add_uint32("controlvector.layer_count", NUM_LAYERS - 1)
    for block, vector in some_vectors(range(NUM_LAYERS - 1), seed=4).items():
        writer.add_tensor(f"direction.{block + 1}", vector)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def some_vectors(layers: Any, seed: int) -> dict[int, Any]:
    """Random float32 vectors by layer."""
    random = np.random.default_rng(seed)
    return {layer: random.normal(size=HIDDEN_SIZE).astype(np.float32) for layer in layers}


def generate(model: Any) -> list[int]:
    """The greedy tokens that follow the prompt."""
    ids = make_tokenizer()(PROMPT, add_special_tokens=False, return_tensors="pt")["input_ids"]
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        pad_token_id=0,
    )
    tokens: list[int] = output[0, ids.shape[1] :].tolist()
    return tokens


if __name__ == "__main__":
    main()
