"""Where Triton servers are: what `TRITON_URL` says, read once."""

from __future__ import annotations

import asyncio
import re
import socket

_DNS = "dns:///"
_NAME_AND_PORT = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")


class TritonAddresses:
    """The addresses of Triton servers that do the same work.

    A list is what it says. `dns:///name:port` means all addresses that the name has, whenever it is
    looked up.

    Args:
        url: `host:port`, several of them separated by commas, or `dns:///name:port`.

    Raises:
        ValueError: It is none of these.
    """

    def __init__(self, url: str) -> None:
        self.is_dynamic = url.startswith(_DNS)
        """Whether the addresses can change."""
        parts = [part.strip() for part in url.removeprefix(_DNS).split(",")]
        found = [_NAME_AND_PORT.fullmatch(part) for part in parts]
        if not all(found) or (self.is_dynamic and len(parts) > 1):
            raise ValueError(
                "use host:port, several of them separated by commas, or dns:///name:port for all "
                "addresses of a name"
            )
        self._parts = tuple(dict.fromkeys(parts))

    @property
    def fixed(self) -> tuple[str, ...]:
        """The addresses that never change; none if they are to be looked up."""
        return () if self.is_dynamic else self._parts

    async def look_up(self) -> tuple[str, ...]:
        """Returns the addresses that there are now.

        Raises:
            OSError: The name cannot be looked up.
        """
        if not self.is_dynamic:
            return self._parts
        name, _, port = self._parts[0].rpartition(":")
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(name.strip("[]"), int(port), type=socket.SOCK_STREAM)
        hosts = {str(address[0]) for *_, address in found}
        return tuple(
            sorted(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts)
        )
