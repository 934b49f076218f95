"""Turns: one task at a time, urgent ones first, and none is lost with a task that is cancelled."""

import asyncio

import pytest

from raymu.service.coordinator.turns import MOST_IN_A_ROW, Turns


def test_urgent_turns_come_first_and_the_others_in_the_order_of_coming() -> None:
    order: list[str] = []

    async def main() -> None:
        turns, at_work = Turns(), 0

        async def work(name: str, *, is_urgent: bool) -> None:
            nonlocal at_work
            async with turns.turn(is_urgent=is_urgent):
                at_work += 1
                assert at_work == 1
                order.append(name)
                await asyncio.sleep(0)
                at_work -= 1

        names = ("first", "second", "third", "urgent", "also urgent")
        await asyncio.gather(*(work(name, is_urgent="urgent" in name) for name in names))

    asyncio.run(main())
    assert order == ["first", "urgent", "also urgent", "second", "third"]


def test_urgent_turns_without_a_pause_let_the_others_in_between() -> None:
    order: list[str] = []

    async def main() -> None:
        turns = Turns()

        async def work(name: str, *, is_urgent: bool) -> None:
            async with turns.turn(is_urgent=is_urgent):
                order.append(name)
                await asyncio.sleep(0)

        names = ["first", "second", "third", *["urgent"] * (3 * MOST_IN_A_ROW)]
        await asyncio.gather(*(work(name, is_urgent=name == "urgent") for name in names))

    asyncio.run(main())
    several = ["urgent"] * MOST_IN_A_ROW
    assert order == ["first", *several, "second", *several, "third", *several]


@pytest.mark.parametrize("has_turn_already", [False, True])
def test_a_cancelled_task_keeps_no_turn_and_takes_none_away(*, has_turn_already: bool) -> None:
    async def main() -> None:
        turns = Turns()

        async def take() -> None:
            async with turns.turn():
                pass

        async with turns.turn():
            cancelled, next_one = asyncio.create_task(take()), asyncio.create_task(take())
            await asyncio.sleep(0)
            if not has_turn_already:
                cancelled.cancel()
        if has_turn_already:  # it was given the turn, and has not run since
            cancelled.cancel()
        await asyncio.wait_for(next_one, 10)
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await asyncio.wait_for(take(), 10)

    asyncio.run(main())


def test_a_failure_passes_the_turn_on() -> None:
    async def main() -> None:
        turns = Turns()
        with pytest.raises(ValueError, match="broken"):
            async with turns.turn():
                raise ValueError("broken")
        async with asyncio.timeout(10), turns.turn():
            pass

    asyncio.run(main())
