"""What is asked of the `persona` ensemble, once it is known to be allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.errors import UnprocessableError, error_of_response
from triton_models.contract.errors import InvalidArgumentError, RequestError
from triton_models.contract.prompt import parse_prompt
from triton_models.contract.request import (
    GenerationDefaults,
    GenerationRequest,
    parse_generation_request,
)
from triton_models.contract.request_vectors import RequestVector
from triton_models.contract.steering import Enforced
from triton_models.contract.steering_document import parse_steering
from triton_models.contract.steering_report import enforced_json
from triton_models.contract.tensors import Values


@dataclass(frozen=True, slots=True)
class SentVectors:
    """The vectors that a body brings along, read once for all requests that it stands for.

    Attributes:
        values: The ensemble's input `vectors`.
        parsed: What it means.
    """

    values: Sequence[str]
    parsed: tuple[RequestVector, ...]


@dataclass(frozen=True, slots=True)
class EnsembleRequest:
    """A generation that passes the model server's own rules: `ensemble_request` checked it.

    Attributes:
        values: The ensemble's inputs. What two requests share is the same object in both.
        parsed: What they mean. What is left to the model server's settings has the gateway's
            values here.
    """

    values: Values
    parsed: GenerationRequest

    @property
    def scalars(self) -> dict[str, float]:
        """The scalar of each trait that is added, in all; one of 0 adds nothing."""
        return {trait: scalar for trait, scalar in self.parsed.steering.totals.items() if scalar}

    @property
    def vector_digests(self) -> dict[str, str]:
        """The digest of each vector that it brings along, which stands for the numbers in logs."""
        return {vector.name: vector.digest for vector in self.parsed.vectors}

    def steered(self, inputs: Mapping[str, Sequence[Any]]) -> EnsembleRequest:
        """Returns the same request under another steering.

        Args:
            inputs: The steering's inputs, without those that are empty.

        Raises:
            UnprocessableError: A value is out of range.
        """
        try:
            steering = parse_steering(inputs)
        except InvalidArgumentError as error:
            raise UnprocessableError(error.message) from error
        return EnsembleRequest({**self.values, **inputs}, replace(self.parsed, steering=steering))

    def enforcing(self, enforced: Enforced) -> EnsembleRequest:
        """Returns the same request with what a policy adds to its steering."""
        if not enforced:
            return self
        document = json.loads(next(iter(self.values.get("steering", ())), "{}"))
        document["enforced"] = enforced_json(enforced)
        steering = replace(self.parsed.steering, enforced=enforced)
        return EnsembleRequest(
            {**self.values, "steering": [json.dumps(document, ensure_ascii=False)]},
            replace(self.parsed, steering=steering),
        )

    def bringing(self, vectors: SentVectors | None) -> EnsembleRequest:
        """Returns the same request with vectors, if there are any."""
        if vectors is None:
            return self
        return EnsembleRequest(
            {**self.values, "vectors": vectors.values},
            replace(self.parsed, vectors=vectors.parsed),
        )

    def seeded(self, seed: int) -> EnsembleRequest:
        """Returns the same request with another seed, from 0 to 2**64 - 1."""
        sampling = replace(self.parsed.sampling, seed=seed)
        return EnsembleRequest(
            {**self.values, "seed": [seed]}, replace(self.parsed, sampling=sampling)
        )

    def echoing(self) -> EnsembleRequest:
        """Returns the same request, its answer to begin with the prompt."""
        return EnsembleRequest(
            {**self.values, "exclude_input_in_output": [False]},
            replace(self.parsed, echo_prompt=True),
        )


def ensemble_request(
    values: Values, messages: Any | None, defaults: GenerationDefaults
) -> EnsembleRequest:
    """Returns a request for inputs that the model server would not refuse.

    It would refuse them itself; but Triton 2.51, which then ends their streams, has been seen to
    crash from many refusals at once.

    Args:
        values: The inputs.
        messages: What the `messages` among them say, if there are any.
        defaults: What holds for what they leave out.

    Raises:
        UnprocessableError: A value is out of range.
        GatewayError: The prompt cannot be used.
    """
    try:
        parsed = parse_generation_request(values, defaults)
    except InvalidArgumentError as error:
        raise UnprocessableError(error.message) from error
    try:
        parse_prompt(values, messages)
    except RequestError as error:
        raise error_of_response(error.code.value, error.message) from error
    return EnsembleRequest(values, parsed)
