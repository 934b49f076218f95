"""The ensemble that a process predicts with: loaded once for each generation, and never one that was revoked from."""

from collections.abc import Callable, Hashable
from threading import Lock
from typing import TypeVar

from raymu.errors import RequestInvalid
from raymu.service.followed_history import FollowedHistory
from raymu.service.prediction import Ensemble
from raymu.service.served import awaited_shards, served_generation, watch_of
from raymu.store.run import RunStore

Answer = TypeVar("Answer")

ATTEMPTS = 5
"""How often an answer is computed again because another generation came meanwhile."""


class Superseded(Exception):
    """The run serves another generation than the one that an answer is computed from."""


class ServedEnsemble:
    """The ensemble of the generation that a run serves. Threads share it, each answer is of one generation.

    What the run serves follows from its journal. As long as nothing was written there, the loaded ensemble is the served
    one, and no file is read. Afterwards the generation is read again.
    """

    def __init__(self, store: RunStore) -> None:
        """Name a run. Of it, only the settings are read."""
        self._store = store
        self._watch, self._history = watch_of(store), FollowedHistory(store)
        self._loading = Lock()
        self._ensemble: Ensemble | None = None
        self._mark: Hashable | None = None

    def current(self, check: Callable[[], object] = lambda: None) -> Ensemble:
        """Return the ensemble that the run serves now.

        Args:
            check: Called before the generation is read. It may refuse the run.

        Raises:
            RaymuError: What `check` and `Ensemble.current` raise.
        """
        with self._loading:
            mark = self._watch.mark()  # before the reading, so that what is written meanwhile is seen the next time
            ensemble = self._ensemble
            if ensemble is not None and mark is not None and mark == self._mark:
                return ensemble
            self._mark = None
            check()
            if ensemble is None or not self._is_served(ensemble):
                self._ensemble = None  # a generation that was revoked from is not kept, whatever happens now
                self._ensemble = ensemble = Ensemble.current(self._store, earlier=ensemble, followed=self._history)
            self._mark = mark
            return ensemble

    def _is_served(self, ensemble: Ensemble) -> bool:
        """Return whether an ensemble is of the served generation, and knows which shards requests wait for."""
        is_same = ensemble.generation == served_generation(self._store, followed=self._history)
        return is_same and ensemble.awaited == awaited_shards(self._store, followed=self._history)

    def answer(self, compute: Callable[[Ensemble], Answer], check: Callable[[], object] = lambda: None) -> Answer:
        """Compute an answer with the served ensemble, again if another generation came before it is returned.

        Args:
            compute: Computes it. It may raise Superseded to begin again early.
            check: As for `current`.

        Raises:
            RequestInvalid: Generations came faster than the answer.
        """
        for _ in range(ATTEMPTS):
            ensemble = self.current(check)
            try:
                answer = compute(ensemble)
            except Superseded:
                continue
            if self.current(check) is ensemble:
                return answer
        raise RequestInvalid(
            f"the run was changed {ATTEMPTS} times while it predicted, before each end; predict fewer samples at once"
        )

    def answer_if_loaded(self, compute: Callable[[Ensemble], Answer]) -> Answer | None:
        """Compute an answer with the loaded ensemble; None if that is not served now, or if to say so takes a wait."""
        ensemble = self._loaded()
        if ensemble is None:
            return None
        answer = compute(ensemble)
        return answer if self._loaded() is ensemble else None

    def _loaded(self) -> Ensemble | None:
        """Return the loaded ensemble if it is the served one; None otherwise, or while another thread finds out."""
        if not self._watch.is_local or not self._loading.acquire(blocking=False):
            return None
        try:
            mark = self._watch.mark()
            return self._ensemble if mark is not None and mark == self._mark else None
        finally:
            self._loading.release()

    def close(self) -> None:
        """Close the connection to the journal. A later call opens it again."""
        self._watch.close()

    def forget_parent(self) -> None:
        """In a forked child, leave the parent's locks alone."""
        self._loading, self._history = Lock(), FollowedHistory(self._store)
