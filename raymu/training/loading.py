"""Batches that are made ahead of the training step, by threads that live as long as an epoch."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
_Work: TypeAlias = "tuple[Callable[[Item], Made], Item, Future[Made]]"
_AHEAD = 2
"""Items that are ready or in work for each thread."""


def made_ahead(make: Callable[[Item], Made], items: Sequence[Item], *, threads: int) -> Generator[Made]:
    """Make something of each item, and yield the results in the order of the items.

    Args:
        make: Called in any of the threads. It must depend on the item alone, and draw from no generator that it shares.
        items: Such as the samples of each batch.
        threads: Threads that work ahead; 0 makes each item when it is asked for.

    Raises:
        Exception: What `make` raised of an item, when it is that item's turn.
    """
    if threads == 0 or len(items) < 2:
        yield from map(make, items)
        return
    queue: SimpleQueue[_Work[Item, Made] | None] = SimpleQueue()
    workers = [
        threading.Thread(target=_work, args=(queue,), name=f"raymu-loading-{number}", daemon=True)
        for number in range(min(threads, len(items)))
    ]
    for worker in workers:
        worker.start()
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            future: Future[Made] = Future()
            queue.put((make, item, future))
            waiting.append(future)
            if len(waiting) > _AHEAD * len(workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        for _ in workers:
            queue.put(None)
        for worker in workers:
            worker.join()


def _work(queue: "SimpleQueue[_Work[Item, Made] | None]") -> None:
    while (work := queue.get()) is not None:
        make, item, future = work
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(make(item))
        except BaseException as error:  # it is raised where the result is asked for
            future.set_exception(error)
        del work, item, future  # not kept while the thread waits
