"""A trait's name, from a file's name or its content."""

from __future__ import annotations

import pytest

from tests.unit.triton_models.vectors.files import example
from triton_models.vectors.formats import encode_vector, read_vector_bytes
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError, check_trait_name

# --- Names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sarcasm", "a", "A-1_b.c", "x" * 64, "0"])
def test_plain_names_may_become_files(name: str) -> None:
    assert check_trait_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", ".x", "-x", "a b", "ä", "x" * 65, "a\n", "a\0"]
)
def test_names_that_could_leave_the_folder_may_not(name: str) -> None:
    with pytest.raises(VectorFileError, match="cannot name a trait's file"):
        check_trait_name(name)
    with pytest.raises(VectorFileError, match=r"x\.json: .*cannot name a trait's file"):
        read_vector_bytes(encode_vector(example(), ".json"), "x.json", trait_name=name)


def test_a_name_inside_a_file_is_taken_as_it_is_but_not_one_made_of_a_files_name() -> None:
    odd = PersonaVector("trockener Witz ü", "m", example().blocks)
    assert read_vector_bytes(encode_vector(odd, ".json"), "x.json").trait_name == odd.trait_name
    with pytest.raises(VectorFileError, match="or give the trait's name"):
        read_vector_bytes(encode_vector(odd, ".svec"), "a b.svec")
