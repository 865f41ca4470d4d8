"""Machines of AWS: what they have, how they are paid, what they start from, what is on their disks."""

import re
from collections.abc import Iterator
from typing import Any

from mdr_tune.cluster.aws_instances import TOO_OLD, gpus, is_arm, vcpus
from mdr_tune.cluster.cluster_file import ClusterFile, Problem, as_mapping
from mdr_tune.config.yaml_lines import KeyPath

_IMAGE = re.compile(r"ami-[0-9a-f]{8,17}|resolve:ssm:.+")
_KIND = "accelerator_type:"
_SMALLEST_ROOT_GB = 50  # the image, the environment (10 GB while it is installed), something to work with


def check_resources(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield resources that are not written, or that the instance type does not have."""
    for _, path, node_type in _aws_types(cluster):
        instance_type = str(_config(node_type).get("InstanceType", ""))
        resources, here = node_type.get("resources", {}), (*path, "resources")
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
        for key in resources:
            if key.startswith(_KIND) and key != f"{_KIND}{kind}":
                has = f"those of {instance_type} are {kind}" if number else f"{instance_type} has no GPU"
                yield Problem((*here, key), f"not this GPU: {has}")


def check_gpu_is_supported(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield GPUs on which the pinned PyTorch does not run."""
    for _, path, node_type in _aws_types(cluster):
        instance_type = str(_config(node_type).get("InstanceType", ""))
        _, kind = gpus(instance_type) or (0, "")
        if kind in TOO_OLD:
            yield Problem(
                (*path, "node_config", "InstanceType"),
                f"{instance_type} has {kind} GPUs, too old for the pinned PyTorch: take g4dn, g5, g6, p4d or newer",
            )


def check_head_is_on_demand(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield that AWS could take the head back at any time, and the sweep with it."""
    for name, path, node_type in _aws_types(cluster):
        market = as_mapping(_config(node_type).get("InstanceMarketOptions"))
        if name == cluster.head_type and market.get("MarketType") == "spot":
            yield Problem(
                (*path, "node_config", "InstanceMarketOptions"),
                "the head must not be a spot instance: with it go the sweep, its checkpoints and MLflow. Remove this.",
            )


def check_image(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield images that are too old, that nobody has, or that lack the driver for the GPUs."""
    for _, path, node_type in _aws_types(cluster):
        config, here = _config(node_type), (*path, "node_config", "ImageId")
        image, accelerators = str(config.get("ImageId", "")), gpus(str(config.get("InstanceType", "")))
        if image.lower() in ("", "latest_dlami"):
            yield Problem(
                here, "is missing: Ray would take Ubuntu 18.04, too old for the pinned packages; see cluster.yaml"
            )
        elif image.startswith("ami-") and not image.removeprefix("ami-").strip("0"):
            yield Problem(here, f"{image} is an example: set an image of your region")
        elif not _IMAGE.fullmatch(image):
            yield Problem(here, f"expected ami-... of your region, or resolve:ssm:PARAMETER, got {image!r}")
        elif "/canonical/" in image and accelerators is not None and accelerators[0]:
            yield Problem(
                here, "Canonical's Ubuntu has no NVIDIA driver; take a Deep Learning Base image, see cluster.yaml"
            )
        elif ("amd64" in image or "x86_64" in image) and is_arm(str(config.get("InstanceType", ""))):
            yield Problem(here, f"is for x86_64, but {config['InstanceType']} is an ARM machine")


def check_volumes(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield disks that are too small or not encrypted."""
    for _, path, node_type in _aws_types(cluster):
        here = (*path, "node_config", "BlockDeviceMappings")
        written = _config(node_type).get("BlockDeviceMappings", [])
        if not isinstance(written, list) or not all(isinstance(disk, dict) for disk in written):
            continue  # check_node_config says so
        volumes = [(i, as_mapping(disk["Ebs"])) for i, disk in enumerate(written) if "Ebs" in disk]
        if not volumes:
            yield Problem(here, f"is missing: the image's own disk is too small; give {_SMALLEST_ROOT_GB} GB or more")
        for i, volume in volumes:
            if volume.get("Encrypted") is not True:
                yield Problem((*here, str(i), "Ebs", "Encrypted"), "expected true: the disk holds data, token and key")
        sizes = [volume["VolumeSize"] for _, volume in volumes if isinstance(volume.get("VolumeSize"), int)]
        if volumes and max(sizes, default=0) < _SMALLEST_ROOT_GB:
            yield Problem(
                (*here, str(volumes[0][0]), "Ebs", "VolumeSize"),
                f"expected {_SMALLEST_ROOT_GB} GB or more: the image and the environment need half of that",
            )


def check_metadata_service(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield that the machine's credentials could be read by a forged request (IMDSv1)."""
    for _, path, node_type in _aws_types(cluster):
        if as_mapping(_config(node_type).get("MetadataOptions")).get("HttpTokens") != "required":
            yield Problem(
                (*path, "node_config", "MetadataOptions"),
                "expected {HttpTokens: required}, so that only processes that ask for a token read the machine's role",
            )


def check_role(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a role that does not say which, and that Ray would make one for the head."""
    for name, path, node_type in _aws_types(cluster):
        profile = _config(node_type).get("IamInstanceProfile")
        if profile is None and name == cluster.head_type:
            yield Problem(
                (*path, "node_config", "IamInstanceProfile"),
                "is missing: Ray would make a role that may do everything in EC2 and S3; clusters/aws_account.yaml "
                "makes one that may do what is needed",
            )
        if isinstance(profile, dict) and not {"Name", "Arn"} & set(profile):
            yield Problem((*path, "node_config", "IamInstanceProfile"), "expected {Name: ...} or {Arn: ...}")


def check_key_pair(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a key of your own that AWS is not told to put on the machines."""
    if "ssh_private_key" not in as_mapping(cluster.tree.get("auth")):
        return
    for _, path, node_type in _aws_types(cluster):
        if "KeyName" not in _config(node_type) and "UserData" not in _config(node_type):
            yield Problem(
                (*path, "node_config", "KeyName"), "is missing: AWS's name of the key that auth.ssh_private_key is"
            )


def _aws_types(cluster: ClusterFile) -> Iterator[tuple[str, KeyPath, dict[str, Any]]]:
    if cluster.is_aws:
        yield from cluster.node_types()


def _config(node_type: dict[str, Any]) -> dict[str, Any]:
    return as_mapping(node_type.get("node_config"))
