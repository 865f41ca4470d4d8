"""Check the AWS machines in a cluster file: their types, resources, images and numbers."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from mdr_tune.cluster.aws_instances import TOO_OLD, gpus, is_arm, vcpus
from mdr_tune.cluster.cluster_file import ClusterFile, Problem, as_mapping
from mdr_tune.util.errors import UserError
from mdr_tune.util.nearest_name import did_you_mean

_OF_RAY = "SubnetIds"  # not a parameter of the request: Ray chooses one of these subnets for each machine
_KIND = "accelerator_type:"


def check_request(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each `node_config` in `cluster` that AWS would refuse, found by botocore without network."""
    if not cluster.is_aws:
        return
    shape, validator = _run_instances()
    types = shape.members["InstanceType"].enum
    for _, path, config in cluster.aws_machines():
        request = {key: value for key, value in config.items() if key != _OF_RAY}
        report = validator.validate({**request, "MinCount": 1, "MaxCount": 1}, shape).generate_report()
        for line in report.splitlines():
            yield Problem(path, f"AWS refuses it: {line}")
        instance_type = config.get("InstanceType")
        if instance_type is None:
            yield Problem((*path, "InstanceType"), "is missing")
        elif instance_type not in types:
            guess = did_you_mean(str(instance_type), types)
            yield Problem((*path, "InstanceType"), f"AWS knows no {instance_type!r} here.{guess}")


def check_resources(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each CPU or GPU number in `cluster` that is missing or does not fit the instance type."""
    if not cluster.is_aws:
        return
    for _, path, node_type in cluster.node_types():
        instance_type = str(as_mapping(node_type.get("node_config")).get("InstanceType", ""))
        resources, here = as_mapping(node_type.get("resources")), (*path, "resources")
        cpus, accelerators = vcpus(instance_type), gpus(instance_type)
        if "CPU" not in resources:
            yield Problem((*here, "CPU"), f"is missing{f': {instance_type} has {cpus}' if cpus else ''}")
        elif cpus is not None and resources["CPU"] > cpus:
            yield Problem((*here, "CPU"), f"{resources['CPU']} are asked for, but {instance_type} has {cpus}")
        if accelerators is None:
            continue
        number, kind = accelerators
        if resources.get("GPU", 0) != number:
            yield Problem((*here, "GPU"), f"{resources.get('GPU', 0)} is written, but {instance_type} has {number}")
        for key in map(str, resources):
            if key.startswith(_KIND) and key != f"{_KIND}{kind}":
                has = f"those of {instance_type} are {kind}" if number else f"{instance_type} has no GPU"
                yield Problem((*here, key), f"not this GPU: {has}")


def check_gpu_is_supported(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each machine in `cluster` whose GPUs are too old for the PyTorch of requirements.txt."""
    for _, path, config in cluster.aws_machines():
        instance_type = str(config.get("InstanceType", ""))
        _, kind = gpus(instance_type) or (0, "")
        if kind in TOO_OLD:
            yield Problem(
                (*path, "InstanceType"),
                f"{instance_type} has {kind} GPUs, too old for the pinned PyTorch: take g4dn, g5, g6, p4d or newer",
            )


def check_head_is_on_demand(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem if the head of `cluster` is a spot instance. AWS could end it, and the sweep, at any time."""
    for name, path, config in cluster.aws_machines():
        market = as_mapping(config.get("InstanceMarketOptions"))
        if name == cluster.head_type and market.get("MarketType") == "spot":
            yield Problem(
                (*path, "InstanceMarketOptions"),
                "the head must not be a spot instance: with it go the sweep, its checkpoints and MLflow. Remove this.",
            )


def check_image(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each image in `cluster` that is missing, left as in the examples, or unsuitable.

    An image is unsuitable if it has no driver for the machine's GPUs, or if it is for another kind of processor.
    """
    for _, path, config in cluster.aws_machines():
        image, instance_type = str(config.get("ImageId", "")), str(config.get("InstanceType", ""))
        number, _ = gpus(instance_type) or (0, "")
        problem = ""
        if image.lower() in ("", "latest_dlami"):
            problem = "is missing: Ray would take Ubuntu 18.04, too old for the pinned packages; see cluster.yaml"
        elif image.startswith("ami-") and not image.removeprefix("ami-").strip("0"):
            problem = f"{image} is an example: set an image of your region"
        elif "/canonical/" in image and number:
            problem = "Canonical's Ubuntu has no NVIDIA driver; take a Deep Learning Base image, see cluster.yaml"
        elif ("amd64" in image or "x86_64" in image) and is_arm(instance_type):
            problem = f"is for x86_64, but {instance_type} is an ARM machine"
        if problem:
            yield Problem((*path, "ImageId"), problem)


def check_workers(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each node type with `min_workers` above `max_workers`, and one if no worker is allowed."""
    if not cluster.is_aws:
        return
    most, can_train = cluster.effective.get("max_workers", 0), False
    for name, path, node_type in cluster.node_types():
        fewest = node_type.get("min_workers", 0)
        highest = min(most, node_type.get("max_workers", 0 if name == cluster.head_type else most))
        if fewest > highest:
            yield Problem((*path, "min_workers"), f"{fewest} is more than max_workers of the type or the cluster")
        can_train = can_train or highest > 0
    if not can_train:
        yield Problem(("max_workers",), "no worker may ever start: set it, and that of a worker's type, to 1 or more")


@cache
def _run_instances() -> tuple[Any, Any]:
    """Return botocore's description of the request that starts machines, and botocore's validator for requests."""
    try:
        import botocore.session
        from botocore.validate import ParamValidator
    except ModuleNotFoundError:
        raise UserError(
            "boto3 is not installed, which `ray up` needs for AWS too: pip install 'mdr_tune[cluster]'"
        ) from None
    ec2 = botocore.session.get_session().get_service_model("ec2")
    return ec2.operation_model("RunInstances").input_shape, ParamValidator()
