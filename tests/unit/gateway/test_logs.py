"""A log line says when, how severe, what, and its fields."""

from __future__ import annotations

import json
import logging

from triton_models.logs import JsonFormatter, TextFormatter


def record(**fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"msg": "request", "levelname": "INFO", "name": "gateway", **fields}
    )
    made.created = 0.5
    return made


def test_text_has_fields_at_its_end_quoted_where_they_must_be() -> None:
    line = TextFormatter().format(record(status=200, reason="a b\nc"))
    assert line == '1970-01-01T00:00:00.500Z INFO gateway request status=200 reason="a b\\nc"'


def test_json_is_one_object_with_the_fields_in_it() -> None:
    line = JsonFormatter().format(record(status=200, reason="a b\nc"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.500Z",
        "level": "INFO",
        "logger": "gateway",
        "message": "request",
        "status": 200,
        "reason": "a b\nc",
    }
