"""Numbers of vCPUs and GPUs of EC2's instance types, as AWS published them in 2026."""

import re

_SMALL, _LARGE = ("xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge"), ("12xlarge", "24xlarge")
_ONE_TO_EIGHT = {**dict.fromkeys(_SMALL, 1), **dict.fromkeys(_LARGE, 4), "48xlarge": 8}

# For each family of instance types: Ray's name of its kind of GPU, and the number of GPUs of each size.
_GPUS: dict[str, tuple[str, dict[str, int]]] = {
    "g4dn": ("T4", {**dict.fromkeys(_SMALL, 1), "12xlarge": 4, "metal": 8}),
    "g5": ("A10G", _ONE_TO_EIGHT),
    "g6": ("L4", _ONE_TO_EIGHT),
    "g6e": ("L40S", _ONE_TO_EIGHT),
    "gr6": ("L4", {"4xlarge": 1, "8xlarge": 1}),
    "p3": ("V100", {"2xlarge": 1, "8xlarge": 4, "16xlarge": 8}),
    "p3dn": ("V100", {"24xlarge": 8}),
    "p4d": ("A100", {"24xlarge": 8}),
    "p4de": ("A100", {"24xlarge": 8}),
    "p5": ("H100", {"4xlarge": 1, "48xlarge": 8}),
    "p5e": ("H200", {"48xlarge": 8}),
    "p5en": ("H200", {"48xlarge": 8}),
}
TOO_OLD = ("V100",)  # PyTorch's packages for CUDA 13, which requirements.txt pins, have no code for these
_VCPUS = {"p3.8xlarge": 32, "p3.16xlarge": 64, "g4dn.metal": 96}
_NOT_BY_SIZE = ("c1", "c4", "d2", "m2")  # families whose vCPUs do not follow from the size; the same holds for hpc*


def gpus(instance_type: str) -> tuple[int, str] | None:
    """Return the number of GPUs of `instance_type` and Ray's name of the kind of GPU; None for an unknown type.

    Example:
        >>> gpus("g5.12xlarge"), gpus("m6i.large")
        ((4, 'A10G'), (0, ''))
    """
    family, _, size = instance_type.partition(".")
    if family in _GPUS:
        kind, sizes = _GPUS[family]
        return (sizes[size], kind) if size in sizes else None
    return (0, "") if re.match(r"[cmrt]\d", family) else None


def vcpus(instance_type: str) -> int | None:
    """Return the number of vCPUs of `instance_type`, such as 8 for `m6i.2xlarge`; None if it is unknown."""
    family, _, size = instance_type.partition(".")
    if instance_type in _VCPUS:
        return _VCPUS[instance_type]
    if family in _NOT_BY_SIZE or family.startswith("hpc"):
        return None
    several = re.fullmatch(r"(\d+)xlarge", size)
    if several:
        return 4 * int(several.group(1))
    return {"large": 2, "xlarge": 4}.get(size)


def is_arm(instance_type: str) -> bool:
    """Return whether `instance_type` has ARM processors: true for m6g.2xlarge, false for g5.12xlarge.

    The names of types with ARM processors have a g after the number of the generation. The only exception is a1.
    """
    family = instance_type.partition(".")[0]
    return family == "a1" or re.fullmatch(r"[a-z]+\d+[a-z]*g[a-z]*", family) is not None
