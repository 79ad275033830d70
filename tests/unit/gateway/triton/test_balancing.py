"""A request goes to a server that works and has the least to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.triton import balancing
from gateway.triton_addresses import TritonAddresses


@dataclass(eq=False)
class Server:
    open_requests: int = 0
    refuses: bool = False
    doubtful: bool = False


def choose(servers: Any, tried: Any = ()) -> object:
    return balancing.choose(servers, tried)


def test_the_one_with_the_fewest_open_requests_is_chosen() -> None:
    busy, idle = Server(5), Server(1)
    assert choose([busy, idle]) is idle


def test_equals_get_equal_shares() -> None:
    servers = [Server(), Server()]
    shares = Counter(id(choose(servers)) for _ in range(2000))
    assert min(shares.values()) > 800


def test_one_that_does_not_work_gets_nothing_however_idle() -> None:
    dead, busy = Server(refuses=True), Server(100)
    assert choose([dead, busy]) is busy
    assert choose([dead]) is None


def test_one_that_fails_every_request_at_once_is_no_black_hole() -> None:
    failing, busy = Server(0, doubtful=True), Server(100)
    assert choose([failing, busy]) is busy


def test_a_doubtful_one_is_tried_when_it_is_the_only_one() -> None:
    alone = Server(doubtful=True)
    assert choose([alone]) is alone


def test_one_that_has_been_tried_is_not_tried_again() -> None:
    first, second = Server(), Server(9)
    assert choose([first, second], [first]) is second
    assert choose([first], [first]) is None


def test_a_list_names_its_servers_once_each() -> None:
    targets = TritonAddresses("one:8001, 10.0.0.2:8001,[::1]:8001,one:8001")
    assert targets.fixed == ("one:8001", "10.0.0.2:8001", "[::1]:8001")
    assert not targets.is_dynamic


async def test_a_dns_name_stands_for_all_its_addresses() -> None:
    targets = TritonAddresses("dns:///localhost:8001")
    assert targets.is_dynamic
    assert targets.fixed == ()
    assert "127.0.0.1:8001" in await targets.look_up()


@pytest.mark.parametrize(
    "url", ["localhost", "http://a:1", "a:1,,b:1", "dns:///a:1,b:1", "a:port", "", "dns:///"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        TritonAddresses(url)
