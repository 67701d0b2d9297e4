"""Wrong types, wrong values, closed objects: exceptions that say what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import framelock
import pytest
from support import free_port, run_python, PATIENCE
from test_waiting import silent

ANY: Any = framelock


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({}, framelock.ConfigError, "no camera"),
        ({"cameras": {}}, framelock.ConfigError, "no camera"),
        ({"cameras": {"a": "srt://:5000"}}, framelock.ConfigError, "unknown kind of source"),
        ({"cameras": {"a": "rtp://:0"}}, framelock.ConfigError, "port"),
        ({"cameras": {"": "rtp://:5000"}}, framelock.ConfigError, "camera name"),
        ({"cameras": ["rtp://:5000"]}, TypeError, "cameras"),
        ({"cameras": "rtp://:5000"}, TypeError, "cameras"),
        ({"cameras": {"a": 5000}}, TypeError, None),
        ({"cameras": {5: "rtp://:5000"}}, TypeError, None),
        ({"policy": "best"}, framelock.ConfigError, "not a policy"),
        ({"policy": 5}, TypeError, None),
        ({"rate": "often"}, framelock.ConfigError, "not a rate"),
        ({"rate": -1.0}, framelock.ConfigError, "not a rate"),
        ({"max_wait": 3600}, framelock.ConfigError, "max-wait"),
        ({"max_wait": -1}, framelock.ConfigError, "max-wait"),
        ({"max_wait": "long"}, TypeError, None),
        ({"max_cameras": 0}, framelock.ConfigError, "max-cameras"),
        ({"pixels": "yuv"}, ValueError, "pixels"),
        ({"pixels": 3}, ValueError, "pixels"),
        ({"queue": 0}, ValueError, "queue"),
        ({"queue": "many"}, TypeError, None),
        ({"ntp": "everywhere"}, framelock.ConfigError, "ntp"),
        ({"ntp_local_stratum": 10}, framelock.ConfigError, "ntp"),
        ({"ntp": "127.0.0.1:0", "ntp_local_stratum": 16}, framelock.ConfigError, "stratum"),
        ({"config": "/nowhere/rig.toml"}, framelock.ConfigError, "/nowhere/rig.toml"),
        ({"config": 7}, TypeError, None),
        ({"colour": "blue"}, TypeError, "colour"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], kind: type[Exception], says: str | None) -> None:
    arguments = arguments if not arguments or "cameras" in arguments else {"cameras": silent(), **arguments}
    if "config" in arguments:
        del arguments["cameras"]
    with pytest.raises(kind, match=says):
        ANY.Aggregator(**arguments)


def test_a_port_that_is_taken_is_a_system_error() -> None:
    cameras = silent()
    with framelock.Aggregator(cameras):
        with pytest.raises(framelock.StartError, match=cameras["silent"].rsplit(":", 1)[1]) as caught:
            framelock.Aggregator(cameras)
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize(
    "use",
    [
        lambda aggregator, consumer: aggregator.next(),
        lambda aggregator, consumer: next(aggregator),
        lambda aggregator, consumer: list(aggregator),
        lambda aggregator, consumer: aggregator.status(),
        lambda aggregator, consumer: aggregator.subscribe(),
        lambda aggregator, consumer: aggregator.counters(),
        lambda aggregator, consumer: aggregator.ntp_address,
        lambda aggregator, consumer: consumer.next(timeout=0),
        lambda aggregator, consumer: next(consumer),
    ],
)
def test_what_is_closed_raises(use: Callable[[Any, Any], object]) -> None:
    aggregator = framelock.Aggregator(silent())
    consumer = aggregator.subscribe()
    aggregator.close()
    aggregator.close()
    assert aggregator.closed
    with pytest.raises(framelock.ClosedError):
        use(aggregator, consumer)


def test_a_closed_consumer_raises() -> None:
    with framelock.Aggregator(silent()) as aggregator:
        with aggregator.subscribe() as consumer:
            assert not consumer.closed
        assert consumer.closed
        consumer.close()
        for use in (consumer.next, consumer.counters, lambda: next(consumer)):
            with pytest.raises(framelock.ClosedError):
                use()
        with pytest.raises(framelock.PacketTimeout):
            aggregator.next(0)


def test_nothing_can_be_made_or_changed_that_should_not() -> None:
    for kind in (framelock.Packet, framelock.Frame):
        with pytest.raises(TypeError):
            kind()
    with pytest.raises(framelock.FramelockError, match="camera"):
        framelock.Aggregator()


def test_exceptions_have_one_root() -> None:
    kinds = [value for value in vars(framelock).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(kinds) >= 8
    assert all(issubclass(kind, framelock.FramelockError) for kind in kinds)


def test_a_program_that_closes_nothing_ends_all_the_same() -> None:
    code = "import framelock, sys; a = framelock.Aggregator({'x': sys.argv[1]}); s = a.subscribe(); print(a, s)"
    program = run_python(code, f"rtp://127.0.0.1:{free_port()}")
    output, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0 and "Aggregator of x" in output, errors
