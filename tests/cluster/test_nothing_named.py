"""After a table of requests was carried out on a cluster, nothing that Ray keeps names a sample, an owner or a key."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray

import raymu
from raymu.errors import SamplesRevoked, UnknownOwner, UnknownSamples
from tests.support.examples import train_run, write_samples
from tests.support.process_memory import kept_by_ray
from tests.support.ray_internals import local_node
from tests.support.ray_runs import config_on_ray

REQUESTS = 600
IDS = [f"sample-{number}" for number in range(REQUESTS)]
OWNERS = [f"owner-{number}" for number in range(1000, 1010)]
KEYS = [f"ticket-{number}-of-a-person-{'x' * 170}" for number in range(REQUESTS)]  # the call is too large to go inline
UNKNOWN = [f"stranger-{number}" for number in range(50)]
NAMES = re.compile(rb"(?:sample|owner|stranger)-\d+|ticket-\d+-of-a-person")
CONTROL = b"control-4711 "


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("is_detached", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_nothing_that_ray_keeps_names_what_was_revoked(tmp_path: Path, is_detached: bool) -> None:
    write_samples(tmp_path / "all.parquet", samples=700, text_ids=True)
    config = config_on_ray(tmp_path / "all.parquet", shards=2, live_actors=1)
    config = replace(config, data=replace(config.data, owner="owner"))
    train_run(config, tmp_path / "run")
    table = [
        *(raymu.Revocation(ids=(sample_id,), key=key) for sample_id, key in zip(IDS, KEYS, strict=True)),
        *(raymu.Revocation(ids=(stranger,)) for stranger in UNKNOWN),
        *(raymu.Revocation(owner=owner) for owner in OWNERS),
    ]
    control = ray.put(np.frombuffer(CONTROL * 20_000, dtype=np.uint8))  # large enough for the object store
    with raymu.open_run(tmp_path / "run") as run:
        if is_detached:
            run.start()
        results = run.revoke_many(table)
        assert sum(result.request_id is not None for result in results) == REQUESTS
        assert {type(result.refusal) for result in results[REQUESTS:]} == {UnknownSamples, UnknownOwner}
        for refused, error in ((IDS[:1], SamplesRevoked), (UNKNOWN, UnknownSamples)):
            with pytest.raises(error):
                run.revoke(refused)
        assert all(receipt.purged_at for receipt in run.receipts())
        places, is_control_seen = set(), False
        for place, content in kept_by_ray(Path(local_node().get_session_dir_path())):
            is_control_seen |= place == "object store" and CONTROL * 3 in content
            places |= {f"{name!r} in {place}" for name in NAMES.findall(content)}
        assert is_control_seen
        assert not places
        if is_detached:
            run.stop()
    del control
