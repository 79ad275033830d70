"""Who sends a request, as far as that is known."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

Role = Literal["user", "admin"]

_IPV6_NETWORK = 64
"""The bits of an IPv6 address that a customer has not chosen."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sends a request.

    Attributes:
        role: What it may do; without keys everybody is a user.
        address: The client's address, or a trusted proxy's word for it.
        key_name: The name of its key; `""` where there are no keys.
        request_rate: The key's own limit of requests; `""` is the gateway's.
        token_rate: The key's own limit of tokens; `""` is the gateway's.
    """

    role: Role = "user"
    address: str = ""
    key_name: str = ""
    request_rate: str = ""
    token_rate: str = ""

    @property
    def counted_as(self) -> tuple[str, str]:
        """Whose budget its requests are taken from."""
        if self.key_name:
            return "key", self.key_name
        return "address", _network(self.address)


NOBODY = Caller()
"""Whoever asks for a generation outside a request."""


def plain_address(address: str) -> str:
    """Returns the IPv4 address that an IPv6 socket shows as `::ffff:a.b.c.d`, or what is given."""
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
    except ValueError:
        return address
    return str(mapped) if mapped else address


def _network(address: str) -> str:
    """Returns the part of an address that its owner cannot change at will."""
    address = plain_address(address)
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False).network_address)
