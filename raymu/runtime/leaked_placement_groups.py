"""Room that Ray Train reserved and nobody uses any more."""

import ray
from ray._raylet import PlacementGroupID
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # type: ignore[attr-defined]  # generated
from ray.util import remove_placement_group
from ray.util.placement_group import PlacementGroup


def release_abandoned_room() -> None:
    """Remove this job's unnamed placement groups whose maker, an actor, is gone.

    Ray would keep them for as long as the job lives; the cleaner that Ray Train starts asks the dashboard, which a cluster
    may do without.
    """
    job, state = ray.get_runtime_context().get_job_id(), ray._private.state.state
    for row in state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(row)
        is_held = group.creator_job_id.hex() == job and group.state != PlacementGroupTableData.REMOVED
        if is_held and not group.name and group.creator_actor_id:
            # The group itself does not tell where its maker ended before it was made known.
            maker = state.actor_table(group.creator_actor_id.hex())
            if maker.get("State", "DEAD") == "DEAD":
                remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
