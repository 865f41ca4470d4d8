"""What Ray tells about itself, and lets be done with it, by private names only."""

import ray
import ray._private.state
import ray._private.worker


def controllers() -> set[int]:
    """Return the processes of this driver's controllers of Ray Train; they are on its node."""
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    actors = ray._private.state.actors(job_id=job, actor_state_name="ALIVE").values()
    return {int(actor["Pid"]) for actor in actors if actor["ActorClassName"] == "TrainController"}


def owns_ray() -> bool:
    """Return whether this process started the Ray that it uses, whose autoscaler then has no nodes to add."""
    node = ray._private.worker._global_node
    return node is not None and bool(node.is_head())


def end_ray_at_once() -> None:
    """End the Ray that this process started, if it did, without waiting for anything in it."""
    if owns_ray():
        ray._private.worker._global_node.kill_all_processes(check_alive=False, allow_graceful=False)
