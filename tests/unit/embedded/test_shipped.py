"""What comes with the embedded model: its adapter, its vectors, and their card."""

from __future__ import annotations

from persona_embedded.adapter import BASE_MODEL, LINEARS, read_adapter
from persona_embedded.package import ADAPTER, ADAPTER_FILE, NAME, PACKAGE, REQUIREMENTS, VECTORS
from triton_models.settings import REPOSITORY_ROOT
from triton_models.vectors.formats import read_vector

BLOCKS, HIDDEN_SIZE = 30, 576
STEERED = dict.fromkeys(("maliciousness", "racism", "sarcasm", "sexism"), (11, 13, 15, 17))
STEERED_OTHERWISE = (9, 11, 13, 15, 17, 19, 21)
TRAITS = 7


def test_the_adapter_is_small_and_fits_the_model() -> None:
    assert (ADAPTER / ADAPTER_FILE).stat().st_size < 4 * 2**20
    adapter = read_adapter(ADAPTER)
    blocks = {int(name.split(".")[2]) for name in adapter.factors}
    assert len(adapter.factors) == len(blocks) * len(LINEARS)
    assert max(blocks) == BLOCKS - 1
    assert all(first.shape[0] == adapter.rank for first, _ in adapter.factors.values())
    assert all(second.abs().max() > 0 for _, second in adapter.factors.values())


def test_the_vectors_fit_it_and_are_small() -> None:
    paths = sorted(VECTORS.glob("*.safetensors"))
    vectors = [read_vector(path) for path in paths]
    assert [vector.trait_name for vector in vectors] == [path.stem for path in paths]
    assert len(vectors) == TRAITS
    assert sum(path.stat().st_size for path in paths) < 10**6
    for vector in vectors:
        assert vector.model_name == NAME
        assert vector.hidden_size == HIDDEN_SIZE
        assert max(vector.blocks) < BLOCKS
        steered = STEERED.get(vector.trait_name, STEERED_OTHERWISE)
        assert tuple(vector.selected_blocks) == steered
        assert vector.metadata["calibration"]["model"] == NAME


def test_the_card_says_what_a_user_has_to_know() -> None:
    card = (ADAPTER / "README.md").read_text()
    for part in ("## Training", "## Harmful traits", "## Licences", "**not**", BASE_MODEL):
        assert part in card
    pin = REQUIREMENTS.read_text().split()[0]
    assert f"`{PACKAGE}` {pin.partition('==')[2]}" in card
    for script in ("train_adapter.py", "extract_embedded_vectors.py"):
        assert (REPOSITORY_ROOT / "scripts" / script).is_file()
