"""What a format's reader returns: the content of one file, before names are resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FileContent:
    """The content of one vector file.

    Attributes:
        blocks: For each 0-based decoder block a finite float32 vector [hidden_size].
        trait_name: The trait's name from the file, or else from the file's name, or `""`.
        model_name: The model's name from the file, or `""`.
        metadata: The other content of the file.
        trait_in_file: Whether `trait_name` is from the file itself: then it is used as it is.
    """

    blocks: dict[int, NDArray[np.float32]]
    trait_name: str = ""
    model_name: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    trait_in_file: bool = False
