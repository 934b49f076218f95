"""A replay compares what a checkpoint holds, whichever version wrote it."""

import torch

from raymu.service.verify.replay import _is_same_state
from raymu.training.checkpoint_format import serialize, weights_sha256

METADATA = {"shard": 0, "stage": 0, "determinism": "{}"}
OF_FIRST_VERSION = {"model.weight": torch.ones(2), "optimizer.0.momentum_buffer": torch.zeros(2)}
"""Tensors of a checkpoint in which buffers that a model does not save were not kept."""
AGAIN = OF_FIRST_VERSION | {"transient.counter": torch.tensor(3), "model.norm.running_mean": torch.zeros(2)}


def test_what_the_first_version_did_not_keep_is_not_compared() -> None:
    written, again = serialize(OF_FIRST_VERSION, METADATA), serialize(AGAIN, METADATA)
    weights = weights_sha256({"model.weight": torch.ones(2)})
    assert _is_same_state(again, written, weights)
    changed = serialize(AGAIN | {"model.weight": torch.zeros(2)}, METADATA)
    assert not _is_same_state(changed, written, weights)


def test_a_buffer_that_was_kept_is_compared() -> None:
    kept = {"model.weight": torch.ones(2), "transient.counter": torch.tensor(3)}
    written, weights = serialize(kept, METADATA), weights_sha256(kept)
    assert _is_same_state(written, written, weights)
    assert not _is_same_state(serialize(kept | {"transient.counter": torch.tensor(4)}, METADATA), written, weights)
