"""The traits that requests can name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.types import Scope

from gateway.api.dependencies import Gateway, GatewayDependency
from gateway.api.response_bodies import Trait, TraitsResponse
from gateway.errors import UnprocessableError
from gateway.http.error_body import NO_KEY, failures
from gateway.protection.access import RequiresAdmin
from gateway.traits.trait_changes import unknown_trait
from triton_models.vectors.formats import VECTOR_SUFFIXES, Convention, read_vector_bytes
from triton_models.vectors.persona_vector import VectorFileError, check_trait_name

_PATH = "/api/v1/traits"
_FORMATS = tuple(sorted(suffix.removeprefix(".") for suffix in VECTOR_SUFFIXES))

router = APIRouter(prefix=_PATH, tags=["traits"])


_UNAVAILABLE = failures({503: "The model cannot be asked at the moment."})
_NOT_FOUND = failures({404: "There is no such trait."})
_ADMIN = NO_KEY | failures(
    {
        403: "The API key has not the role admin, or the gateway has no keys.",
        409: "A file stands in the way, or somebody else has changed it at the same time.",
        422: "The name, the format or the vector cannot be used.",
        500: "The folder of vectors cannot be changed.",
        503: "The model server cannot be asked, or has not noticed the change in time.",
    }
)
_UPLOAD = failures(
    {413: "The file is too large (MAX_VECTOR_BYTES).", 507: "There is no room for the file."}
)


@router.get("", responses=NO_KEY | _UNAVAILABLE)
async def list_traits(gateway: GatewayDependency) -> TraitsResponse:
    """Lists the traits with what is known about their vectors."""
    description = await gateway.description.get()
    return TraitsResponse(traits=traits_of(description), problems=description.get("problems", []))


@router.get("/{name}", responses=NO_KEY | _UNAVAILABLE | _NOT_FOUND)
async def get_trait(name: str, gateway: GatewayDependency) -> Trait:
    """Describes one trait."""
    return await _trait(name, gateway)


class _AnythingConvertor(PathConvertor):
    """The whole rest of an address, line ends included, which Starlette's `path` leaves out."""

    regex = "(?s:.*)"


register_url_convertor("anything", _AnythingConvertor())


# The name is the whole rest of the address, so that one with a slash is refused by its name.
@router.put(
    "/{name:anything}",
    dependencies=[RequiresAdmin],
    responses={201: {"model": Trait, "description": "The trait is new."}} | _ADMIN | _UPLOAD,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def put_trait(
    name: str,
    request: Request,
    response: Response,
    gateway: GatewayDependency,
    filename: Annotated[
        str, Query(description="The file's name; its suffix says its format.")
    ] = "",
    format: Annotated[
        str | None,
        Query(description=f"The file's format, instead of a name: {', '.join(_FORMATS)}."),
    ] = None,
    convention: Annotated[
        Convention | None,
        Query(description="What the file's indices count, if not what its format usually means."),
    ] = None,
    model_name: Annotated[
        str | None, Query(description="The model it was made from, if the file does not say.")
    ] = None,
) -> Trait:
    """Makes the vector file in the body the trait's vector, once the engine steers by it.

    The trait has the name in the address, whatever the file says. Generations that run keep the
    vector that they began with.
    """
    request.state.log_fields["trait"] = name
    _check_name(name)
    file_name = _file_name(name, filename, format, request.headers.get("content-type", ""))

    content = await request.body()
    read = partial(read_vector_bytes, trait_name=name, model_name=model_name, convention=convention)
    try:
        vector = await asyncio.to_thread(read, content, file_name)
    except VectorFileError as error:
        raise UnprocessableError(str(error)) from error
    created = await gateway.trait_files.put(vector)
    gateway.description.forget()
    response.status_code = 201 if created else 200
    return await _trait(name, gateway)


@router.delete(
    "/{name:anything}", dependencies=[RequiresAdmin], status_code=204, responses=_ADMIN | _NOT_FOUND
)
async def delete_trait(name: str, request: Request, gateway: GatewayDependency) -> None:
    """Removes a trait and its files; generations that run with it go on."""
    request.state.log_fields["trait"] = name
    if name not in (await gateway.description.get())["traits"]:
        _check_name(name)
    await gateway.trait_files.delete(name)
    gateway.description.forget()


def is_upload(scope: Scope) -> bool:
    """Whether a request uploads a vector file, which may be larger than other bodies."""
    return bool(scope["method"] == "PUT" and scope["path"].startswith(f"{_PATH}/"))


def traits_of(description: Mapping[str, Any]) -> dict[str, Trait]:
    """Returns the traits that the model server's description has."""
    return {name: Trait(**fields) for name, fields in description["traits"].items()}


async def _trait(name: str, gateway: Gateway) -> Trait:
    description = await gateway.description.get()
    if name not in description["traits"]:
        raise unknown_trait(name, description)
    return Trait(**description["traits"][name])


def _check_name(name: str) -> None:
    try:
        check_trait_name(name)
    except VectorFileError as error:
        raise UnprocessableError(str(error)) from error


def _file_name(trait: str, given: str, format_name: str | None, content_type: str) -> str:
    """Returns a name for the uploaded file, by whose suffix it is read.

    Raises:
        UnprocessableError: Nothing says its format, or it is none that can be read.
    """
    is_json = content_type.partition(";")[0].strip() == "application/json"
    if format_name is None and not given and is_json:
        format_name = "json"
    name = given if format_name is None else f"{PurePath(given).stem or trait}.{format_name}"
    if PurePath(name).suffix.lower() not in VECTOR_SUFFIXES:
        raise UnprocessableError(
            "the file's format is not known: give ?format= one of "
            f"{', '.join(_FORMATS)}, or ?filename= a name with such a suffix"
        )
    return PurePath(name).name
