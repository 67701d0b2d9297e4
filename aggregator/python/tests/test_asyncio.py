"""Packets in an event loop."""

from __future__ import annotations

import asyncio
import time

import framelock
import pytest
from conftest import MakeRig, Rig
from support import PATIENCE
from test_waiting import silent


def test_async_for_gives_packets_while_other_tasks_run(rig: Rig) -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticker = asyncio.create_task(tick())
        images = 0
        async with framelock.Aggregator(rig.cameras) as aggregator:
            async for packet in aggregator:
                images += sum(frame.image.shape == (240, 320, 3) for frame in packet if frame)
                if images >= 40:
                    break
        ticker.cancel()
        # Twenty packets of two images take two thirds of a second: the loop was not held.
        assert ticks >= 50

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_many_consumers_wait_at_once(make_rig: MakeRig) -> None:
    rig = make_rig("only")

    async def take(consumer: framelock.Subscription) -> list[int]:
        return [(await consumer.next_async()).number for _ in range(10)]

    async def main() -> None:
        with framelock.Aggregator(rig.cameras, pixels=None) as aggregator:
            consumers = [aggregator.subscribe(pixels=None, newest=False, queue=50) for _ in range(5)]
            for numbers in await asyncio.gather(*map(take, consumers)):
                assert numbers == list(range(numbers[0], numbers[0] + 10))

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_a_cancelled_wait_loses_no_packet(rig: Rig) -> None:
    async def main() -> None:
        with framelock.Aggregator(rig.cameras, pixels=None, newest=False, queue=100) as aggregator:
            numbers, cancelled = [(await aggregator.next_async()).number], 0
            while cancelled < 20 or len(numbers) < 20:
                task = asyncio.create_task(aggregator.next_async())
                done, _ = await asyncio.wait([task], timeout=0.007)
                if done:
                    numbers.append(task.result().number)
                else:
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    cancelled += 1
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_a_time_limit_ends_an_asynchronous_wait() -> None:
    async def main() -> None:
        with framelock.Aggregator(silent()) as aggregator:
            for limit in (0, 0.1, 1.2):
                begin = time.monotonic()
                with pytest.raises(framelock.PacketTimeout):
                    await aggregator.next_async(limit)
                assert time.monotonic() - begin >= limit - 0.01

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_closing_ends_an_asynchronous_wait() -> None:
    async def main() -> None:
        aggregator = framelock.Aggregator(silent())
        task = asyncio.create_task(aggregator.next_async())
        await asyncio.sleep(0.05)
        aggregator.close()
        with pytest.raises(framelock.ClosedError):
            await task

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_two_tasks_do_not_wait_for_one_consumer() -> None:
    async def main() -> None:
        with framelock.Aggregator(silent()) as aggregator:
            first = asyncio.create_task(aggregator.next_async())
            await asyncio.sleep(0.05)
            with pytest.raises(RuntimeError, match="another task"):
                await aggregator.next_async()
            first.cancel()
            await asyncio.wait([first])
            with pytest.raises(framelock.PacketTimeout):
                await aggregator.next_async(0.01)

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
