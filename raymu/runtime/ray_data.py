"""Ray Data as raymu uses it: pieces of work over a pool of actors, in order, and without a word on the terminal.

What actors return lies in Ray's object store. It is sealed by `MessageCipher` there, errors too.
"""

import logging
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

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
    with _context():
        data = ray.data.from_items([dict(piece) for piece in pieces], override_num_blocks=len(pieces)).map_batches(
            actor,
            batch_size=1,
            compute=ActorPoolStrategy(min_size=1, max_size=actors),
            fn_constructor_args=list(arguments),
            max_restarts=0,  # Ray writes a line to standard error about the arguments of those that it may restart
            **options,
        )
    yield from data.iter_rows()


@contextmanager
def _context() -> Iterator[None]:
    """Make what is built meanwhile silent, and keep its order. Ray Data copies its settings when it builds something."""
    with warnings.catch_warnings():  # of Ray Data, which warns of its own defaults too
        warnings.simplefilter("ignore", DeprecationWarning)
        context = DataContext.get_current()
        options = context.execution_options
        before = context.enable_progress_bars, options.preserve_order
        context.enable_progress_bars, options.preserve_order = False, True
        try:
            yield
        finally:
            context.enable_progress_bars, options.preserve_order = before
