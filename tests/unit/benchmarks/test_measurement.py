"""Rates come from the moments at which tokens arrive."""

from __future__ import annotations

import pytest

from benchmarks.measurement import (
    Arrival,
    Measurement,
    Timeline,
    WrongTokenCountError,
    measure,
    one_after_another,
)
from benchmarks.workload import Workload


def timeline(*streams: list[tuple[float, int]]) -> Timeline:
    line = Timeline(len(streams))
    line.arrivals = [[Arrival(*each) for each in stream] for stream in streams]
    return line


def test_end_to_end_counts_all_tokens_until_the_last_one() -> None:
    line = timeline([(1.0, 1), (2.0, 2), (3.0, 3)], [(1.0, 1), (2.0, 2), (4.0, 3)])
    assert measure(line, 3).tokens_per_second == pytest.approx(6 / 4)


def test_decoding_counts_only_while_every_stream_generates() -> None:
    line = timeline(
        [(1.0, 1), (5.0, 2), (6.0, 3), (7.0, 4)],  # waits while the other's prompt is computed
        [(5.0, 1), (6.0, 2), (7.0, 3), (7.1, 4)],
    )
    measurement = measure(line, 4)
    assert measurement.decode_tokens_per_second == pytest.approx(2.0)
    assert measurement.step_seconds == pytest.approx(1.0)


def test_streams_that_report_one_after_another_within_a_step_lose_no_part_of_it() -> None:
    streams = [[(step + 0.01 * stream, step) for step in (1, 2, 3)] for stream in range(4)]
    assert measure(timeline(*streams), 3).step_seconds == pytest.approx(1.0)


def test_chunks_of_several_tokens_count_as_several() -> None:
    line = timeline([(1.0, 1), (3.0, 5), (4.0, 7)])
    assert measure(line, 7).decode_tokens_per_second == pytest.approx(2.0)


def test_there_is_no_decode_rate_where_streams_never_generate_together() -> None:
    measurement = measure(timeline([(1.0, 1), (2.0, 2)], [(3.0, 1), (4.0, 2)]), 2)
    assert measurement.decode_tokens_per_second is None
    assert measurement.step_seconds is None


def test_there_is_no_decode_rate_of_one_token() -> None:
    assert measure(timeline([(1.0, 1)]), 1).decode_tokens_per_second is None


def test_the_first_token_is_the_median_stream_s() -> None:
    line = timeline([(1.0, 1)], [(2.0, 1)], [(9.0, 1)])
    assert measure(line, 1).first_token_seconds == 2.0


@pytest.mark.parametrize("streams", [[[(1.0, 1), (2.0, 2)]], [[(1.0, 3)], []]])
def test_a_run_of_another_length_is_an_error(streams: list[list[tuple[float, int]]]) -> None:
    with pytest.raises(WrongTokenCountError):
        measure(timeline(*streams), 3)


def test_a_request_that_comes_later_has_its_first_token_counted_from_then() -> None:
    line = timeline([(0.1, 1), (0.2, 2)], [(1.3, 1), (1.4, 2)])
    line.requests[1] = 1.0
    assert measure(line, 2).first_token_seconds == pytest.approx(0.2)


def test_requests_are_spread_evenly_over_a_time() -> None:
    spread = Workload(4, 8, 2, spread_seconds=0.2)
    assert [spread.comes_at(stream) for stream in range(4)] == pytest.approx([0, 0.05, 0.1, 0.15])
    line = Timeline(4)
    line.wait_for(3, spread.comes_at(3))
    assert line.requests[3] >= 0.15
    assert line.requests[:3] == [0, 0, 0]


def test_a_timeline_counts_from_its_restart() -> None:
    line = Timeline(1)
    line.started -= 100
    line.restart()
    line.record(0, 1)
    assert line.arrivals[0][0].seconds < 50


def test_one_after_another_keeps_the_rate_and_queues_the_first_token() -> None:
    alone = Measurement(10.0, 20.0, 0.05, 0.5)
    measurement = one_after_another([alone, alone], streams=5, new_tokens=30)
    assert measurement.tokens_per_second == pytest.approx(10.0)
    assert measurement.step_seconds == pytest.approx(0.05)
    # The third of five waits for two requests of three seconds.
    assert measurement.first_token_seconds == pytest.approx(0.5 + 2 * 3.0)


def test_requests_of_different_speed_add_their_times() -> None:
    fast, slow = Measurement(30.0, None, None, 0.1), Measurement(10.0, None, None, 0.1)
    measurement = one_after_another([fast, slow], streams=2, new_tokens=30)
    assert measurement.tokens_per_second == pytest.approx(60 / 4)
    assert measurement.decode_tokens_per_second is None
