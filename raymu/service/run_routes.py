"""The routes of a run, training and extensions together: which shards may have an owner, or an id."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from raymu.core.partition import Hashes, Indices, bucket
from raymu.core.records import FileRef
from raymu.data.routes import Routes
from raymu.errors import FileCorrupt, FileMissing
from raymu.store.last_used import LastUsed
from raymu.store.layout import routes_part
from raymu.store.run import RunStore
from raymu.store.stored_samples import routes_writer

MAX_OPEN_BYTES = 2**25
"""Bytes of routes that stay open between requests."""


class RunRoutes:
    """Looks keys up in the files that can have them."""

    def __init__(self, store: RunStore, added_routes: Callable[[], Sequence[tuple[FileRef, ...] | None]]) -> None:
        """Remember where to look.

        Args:
            store: The run.
            added_routes: Returns the routes of each extension of the run.
        """
        self._store, self._added_routes = store, added_routes
        self._open: LastUsed[Routes] = LastUsed(MAX_OPEN_BYTES)

    def routed(self, keys: Hashes) -> tuple[Indices, Indices] | None:
        """Return the place and the shard of every route of these keys, from the files that can have them.

        None unless all samples of the run have routes that can be read: then every shard has to be searched.
        """
        refs = self._store.manifest.routes_with(self._added_routes())
        if refs is None:
            return None
        places, shards = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        for ref in refs:
            part, parts = routes_part(ref.path)
            here = np.flatnonzero(bucket(keys, parts) == part)
            if len(here):
                try:
                    routes = self._open.get(ref, partial(self._store.samples.read_routes, ref))
                except (FileMissing, FileCorrupt):  # `verify` says so, and `rebuild` makes them again
                    return None
                of_here, of_shards = routes.find(keys[here])
                places.append(here[of_here])
                shards.append(of_shards)
        return np.concatenate(places), np.concatenate(shards)

    def leads_to(self, shard: int, table: pa.Table) -> bool:
        """Return whether routes lead to all samples of a shard that need some; True if the run has no routes.

        Args:
            shard: The shard.
            table: The columns `id` and `owner` of its table; any other ones in a run without owners.
        """
        writer = routes_writer(self._store.config, self._store.keys.hash_key)
        hashes = np.empty(0, dtype=np.uint64) if writer is None else writer.hashes_of(table)
        routed = self.routed(hashes)
        return routed is None or len(np.unique(routed[0][routed[1] == shard])) == len(hashes)
