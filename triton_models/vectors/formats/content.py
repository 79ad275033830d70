"""What a format's reader hands over: the content of one file, before names are settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FileContent:
    """The content of one vector file.

    Attributes:
        blocks: For each 0-based decoder block a finite float32 vector, [hidden_size].
        trait_name: The trait that the file, or else its name, says; "" if neither does.
        model_name: The model that the file says, or "".
        metadata: What else the file says.
        trait_in_file: Whether the file itself says the trait: such a name is taken as it is.
    """

    blocks: dict[int, NDArray[np.float32]]
    trait_name: str = ""
    model_name: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    trait_in_file: bool = False
