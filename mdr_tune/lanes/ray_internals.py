"""What Ray tells about itself by private names only."""

import ray
import ray._private.state
import ray._private.worker


def controllers() -> set[int]:
    """Return the processes of this driver's controllers of Ray Train; they are on its node."""
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    actors = ray._private.state.actors(job_id=job, actor_state_name="ALIVE").values()
    return {int(actor["Pid"]) for actor in actors if actor["ActorClassName"] == "TrainController"}


def is_started_here() -> bool:
    """Return whether this process started the Ray that it uses, which then is one of this machine alone."""
    node = ray._private.worker._global_node
    return node is not None and bool(node.head)
