"""A deletion that waits for its group: callers learn that it is done, and for what its visible change waits."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from raymu.api import Run
from raymu.cli.group import cli
from raymu.service import followed_history, history
from tests.support.examples import create_run, make_config, write_samples
from tests.system.web.conftest import opened_service


def test_a_request_says_what_its_visible_change_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_samples(tmp_path / "all.parquet", samples=100, text_ids=True, owners=8)
    unlearning = {"on_accept": "abstain", "publish": {"at_least": 3, "every": "1h"}}
    data = {"owner": "owner"}
    training, partition = {"epochs": 2}, {"slices": 2}
    config = make_config(
        tmp_path / "all.parquet", data=data, training=training, partition=partition, unlearning=unlearning
    )
    create_run(config, tmp_path / "run")
    with opened_service(tmp_path, "run") as service:
        body = {"owner": "owner-3", "strategy": "sisa"}
        request_id = service.delete(body).json()["runs"][0]["request_id"]
        state = service.wait_for(request_id, "settled")
        group = state["group"]
        assert (group["further_requests"], group["rewound_shards"]) == (2, 0)
        assert group["abstaining_shards"] == len(Run(tmp_path / "run", trust=True).status().group.shards)  # type: ignore[union-attr]
        visible_by = datetime.fromisoformat(group["visible_by"]).astimezone(UTC)
        waits = f"The visible change waits for 2 further repaired requests, or until {visible_by:%Y-%m-%d %H:%M} UTC"
        with monkeypatch.context() as patch:
            replays: list[object] = []
            open_replay = history.open_replay

            def counted(*arguments: Any, **options: Any) -> Any:
                replays.append(arguments)
                return open_replay(*arguments, **options)

            patch.setattr(followed_history, "open_replay", counted)
            assert service.client.get(f"/v1/requests/{request_id}").json()["group"] == group
            assert not replays, "only the events since the answer before are read"
            Run(tmp_path / "run", trust=True).status()
            assert len(replays) == 1
        page = service.client.get(f"/requests/{request_id}").text
        assert waits in page
        assert "without a vote meanwhile" in page
        assert service.client.get("/v1/status").json()["runs"]["run"]["group"]["request_ids"] == [request_id]
        shown = CliRunner().invoke(cli, ["receipts", str(tmp_path / "run")]).output
        assert waits in " ".join(shown.split())
        document = json.loads(CliRunner().invoke(cli, ["receipts", str(tmp_path / "run"), "--json"]).output)
        assert document["groups"][request_id] == group
        for text in (page, shown, json.dumps(state)):
            assert "owner-3" not in text
        with Run(tmp_path / "run", trust=True) as run:
            assert str(run.group_waits([request_id])[request_id]).startswith("acknowledged and forgotten, with ")
            run.settle(publish=True)
        assert service.client.get(f"/v1/requests/{request_id}").json()["group"] is None
        assert "The visible change waits" not in service.client.get(f"/requests/{request_id}").text
