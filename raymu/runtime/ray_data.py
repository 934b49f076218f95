"""Ray Data as raymu uses it, without a word on the terminal: pieces of work over a pool of actors, and groups of records.

What actors return lies in Ray's object store. It is sealed by `MessageCipher` there, errors too.
"""

import logging
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext

from raymu.config import ClusterConfig
from raymu.runtime.shard_resources import task_options


def map_in_order(
    pieces: Sequence[Mapping[str, Any]], actor: type, arguments: Sequence[Any], cluster: ClusterConfig, *, actors: int
) -> Generator[dict[str, Any]]:
    """Have the actors of a pool work on pieces, and yield what they return in the order of the pieces.

    Actors that have not been read from wait, so that a few results exist at a time. Closing the generator ends the actors.

    Args:
        pieces: Plain values by name, the same names in each. Nothing that a request names.
        actor: The class of the actors. An instance is called with one piece, as arrays of one value by name, and returns
            as many values by name.
        arguments: What it is made with.
        cluster: The resources of each actor, which are those of a shard.
        actors: Most actors.

    Yields:
        What an actor returned for each piece.

    Raises:
        RayError: An actor was lost.
    """
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    options = {name: value for name, value in task_options(cluster).items() if value}
    with _context(preserve_order=True):
        data = ray.data.from_items([dict(piece) for piece in pieces], override_num_blocks=len(pieces)).map_batches(
            actor,
            batch_size=1,
            compute=ActorPoolStrategy(min_size=1, max_size=actors),
            fn_constructor_args=list(arguments),
            max_restarts=0,  # Ray writes a line to standard error about the arguments of those that it may restart
            **options,
        )
        results = iter(data.iter_rows())
        # As it begins, Ray 2.52 looks at these settings again, not at its copy of them.
        first = list(islice(results, 1))
    yield from first
    yield from results


def map_groups(
    refs: Sequence[Any], key: str, work: Callable[[pa.Table], pa.Table], *, partitions: int
) -> Generator[dict[str, Any]]:
    """Bring the records of each group together on one worker, and yield what `work` makes of each group, in any order.

    Args:
        refs: Tables of records in Ray's object store.
        key: The column that says the group.
        work: Makes a table of the records of a group.
        partitions: Into how many parts all records are divided.

    Yields:
        Each row that was made.
    """
    silent: dict[str, Any] = {
        "enable_operator_progress_bars": False,
        "print_on_execution_start": False,
        "execution_no_progress_timeout_s": -1,  # other jobs may have the room for long
        "shuffle_compression": "none",  # what is sealed cannot be compressed
        "target_max_block_size": None,  # what one worker brings together is not divided: a group would be
    }
    with _context(**silent), _silent_handlers():
        records = ray.data.from_arrow_refs(list(refs))
        done = records.groupby(key, num_partitions=partitions).map_groups(work, batch_format="pyarrow", num_cpus=1)
        yield from done.iter_rows()


@contextmanager
def _context(*, preserve_order: bool = False, **settings: Any) -> Iterator[None]:
    """Make what is built meanwhile silent. Ray Data copies its settings when it builds something.

    Args:
        preserve_order: Whether results come in the order of what they are made of.
        settings: Further settings of Ray Data; those that this version of it lacks are left out.
    """
    with warnings.catch_warnings():  # of Ray Data, which warns of its own defaults too
        warnings.simplefilter("ignore", DeprecationWarning)
        context = DataContext.get_current()
        options = context.execution_options
        values = {"enable_progress_bars": False, **settings}
        before = {name: getattr(context, name) for name in values if hasattr(context, name)}
        was_ordered, options.preserve_order = options.preserve_order, preserve_order or options.preserve_order
        try:
            for name in before:
                setattr(context, name, values[name])
            yield
        finally:
            options.preserve_order = was_ordered
            for name, value in before.items():
                setattr(context, name, value)


@contextmanager
def _silent_handlers() -> Iterator[None]:
    """Keep Ray Data's log from the terminal."""
    logger = logging.getLogger("ray.data")
    levels = {handler: handler.level for handler in logger.handlers if isinstance(handler, logging.StreamHandler)}
    try:
        for handler in levels:
            handler.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for handler, level in levels.items():
            handler.setLevel(level)
