from hypothesis import given
from hypothesis import strategies as st

from raymu.config.unlearning import OnAccept
from raymu.core.board.serving import served_constituent
from raymu.core.records import ShardState
from tests.unit.core.examples import SLICES, lineage


def test_an_untouched_shard_serves_its_repaired_state() -> None:
    served = served_constituent(lineage(), pending_from=None, on_accept=OnAccept.REWIND)
    assert (served.state, served.stages_trained, served.samples) == (ShardState.EXACT, SLICES, 40)


def test_a_patched_shard_says_that_it_is_approximate() -> None:
    served = served_constituent(lineage(tainted_from=2, debts=("r",)), pending_from=None, on_accept=OnAccept.REWIND)
    assert served.state is ShardState.APPROXIMATE


@given(pending=st.integers(1, SLICES - 1), tainted=st.one_of(st.none(), st.integers(1, SLICES - 1)))
def test_a_touched_shard_serves_its_newest_untouched_checkpoint(pending: int, tainted: int | None) -> None:
    shard = lineage(tainted_from=tainted, debts=() if tainted is None else ("r",))
    served = served_constituent(shard, pending_from=pending, on_accept=OnAccept.REWIND)
    newest = min(pending, SLICES if tainted is None else tainted)
    assert served.state is ShardState.REWOUND
    assert served.checkpoint == shard.checkpoints[newest - 1]
    assert served.stages_trained == newest


def test_a_shard_touched_in_its_first_slice_abstains() -> None:
    assert served_constituent(lineage(), pending_from=0, on_accept=OnAccept.REWIND).state is ShardState.ABSTAINING


def test_a_checkpoint_that_has_seen_no_sample_has_no_vote() -> None:
    shard = lineage(slice_samples=(0, 10, 10, 10))
    assert served_constituent(shard, pending_from=1, on_accept=OnAccept.REWIND).state is ShardState.ABSTAINING
    assert served_constituent(shard, pending_from=2, on_accept=OnAccept.REWIND).state is ShardState.REWOUND
    empty = lineage(slice_samples=(0, 0, 0, 0))
    assert served_constituent(empty, pending_from=None, on_accept=OnAccept.REWIND).state is ShardState.ABSTAINING


def test_abstain_withholds_the_vote_and_keep_serves_the_old_state() -> None:
    assert served_constituent(lineage(), pending_from=3, on_accept=OnAccept.ABSTAIN).state is ShardState.ABSTAINING
    assert served_constituent(lineage(), pending_from=3, on_accept=OnAccept.KEEP).state is ShardState.EXACT
