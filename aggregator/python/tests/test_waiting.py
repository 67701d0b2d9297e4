"""Waiting for packets: time limits, other threads, Ctrl-C, several consumers, closing."""

from __future__ import annotations

import datetime
import math
import signal
import threading
import time

import framelock
import pytest
from conftest import Rig, complete
from support import PATIENCE, Sender, free_port, run_python

# A camera that nobody sends to.
SILENT = "rtp://127.0.0.1:{}"


def silent() -> dict[str, str]:
    return {"silent": SILENT.format(free_port())}


def test_a_time_limit_ends_the_wait() -> None:
    with framelock.Aggregator(silent()) as aggregator:
        for limit in (0, 0.0, -1, 0.12, datetime.timedelta(milliseconds=120)):
            begin = time.monotonic()
            with pytest.raises(framelock.PacketTimeout):
                aggregator.next(limit)
            seconds = limit.total_seconds() if isinstance(limit, datetime.timedelta) else limit
            assert time.monotonic() - begin >= seconds
        with pytest.raises(TimeoutError):
            aggregator.next(timeout=0)
        with pytest.raises(ValueError, match="timeout"):
            aggregator.next(math.nan)


def test_other_threads_run_while_one_waits(clock: str) -> None:
    """The sender starts only once Python has run in another thread: a wait that held Python would never end."""
    port = free_port()
    senders: list[Sender] = []

    def send() -> None:
        senders.append(Sender("late", port, clock))

    with framelock.Aggregator({"late": f"rtp://127.0.0.1:{port}"}, pixels=None) as aggregator:
        thread = threading.Timer(0.2, send)
        thread.start()
        try:
            aggregator.next(PATIENCE)
        finally:
            thread.join()
            senders[0].kill()


WAITS = """
import sys, framelock
aggregator = framelock.Aggregator({"silent": sys.argv[1]})
print("waiting")
try:
    %s
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(
    "wait",
    [
        "aggregator.next()",
        "next(iter(aggregator))",
        "aggregator.next(timeout=1e9)",
        "aggregator.next(timeout=float('inf'))",
        "import asyncio; asyncio.run(aggregator.next_async())",
        "framelock.StreamSynchronizer([{'source': 'rtp://127.0.0.1:%d'}]).get_frame_packet()" % free_port(),
    ],
)
def test_ctrl_c_interrupts_a_wait(wait: str) -> None:
    program = run_python(WAITS % wait, silent()["silent"])
    assert program.stdout is not None
    assert program.stdout.readline() == "waiting\n"
    # It may not have begun to wait yet, but it is in the try block or about to enter it.
    time.sleep(0.3)
    begin = time.monotonic()
    program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=PATIENCE)
    assert output == "interrupted\n", errors
    # At once: a slice is 50 ms. The rest is a busy machine that ends a Python program.
    assert time.monotonic() - begin < 10


def test_a_slow_consumer_gets_the_newest_and_holds_nobody_up(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras, pixels=None) as aggregator:
        slow = aggregator.subscribe(pixels=None)
        all_of_them = aggregator.subscribe(pixels=None, newest=False, queue=5)
        before = slow.next(PATIENCE).number
        taken = [all_of_them.next(PATIENCE) for _ in range(20)]
        assert [packet.number for packet in taken] == list(range(taken[0].number, taken[0].number + 20))
        newest = slow.next(PATIENCE)
        # Meanwhile the other took twenty packets, and this one waited for none of those that it missed.
        assert newest.number >= taken[-1].number - 2 > before
        counters = slow.counters()
        assert counters.skipped >= 10 and counters.delivered == 2
        assert counters.offered >= counters.delivered + counters.skipped
        assert all_of_them.counters().skipped == 0


def test_closing_ends_a_wait_in_another_thread() -> None:
    for close_aggregator in (True, False):
        aggregator = framelock.Aggregator(silent())
        consumer = aggregator.subscribe()
        errors: list[BaseException] = []
        waiting = threading.Event()

        def wait() -> None:
            waiting.set()
            try:
                consumer.next()
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        waiting.wait(PATIENCE)
        (aggregator if close_aggregator else consumer).close()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert [type(error) for error in errors] == [framelock.ClosedError]
        aggregator.close()


def test_threads_may_share_a_consumer(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras, pixels=None) as aggregator:
        shared = aggregator.subscribe(pixels=None, newest=False, queue=100)
        taken: list[int] = []

        def take() -> None:
            for _ in range(10):
                taken.append(shared.next(PATIENCE).number)

        threads = [threading.Thread(target=take) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # Each packet went to one of them.
    assert sorted(taken) == list(range(min(taken), min(taken) + 30))


def test_the_ports_are_free_once_closed(rig: Rig) -> None:
    for _ in range(3):
        with framelock.Aggregator(rig.cameras, pixels=None) as aggregator:
            complete(aggregator, 1)
