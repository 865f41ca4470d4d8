"""The table of instance types equals the copy of EC2's own that moto carries."""

import re

import pytest
import torch
from moto.ec2.models.instance_types import INSTANCE_TYPES

from mdr_tune.cluster.aws_instances import TOO_OLD, gpus, vcpus


def test_vcpus_are_those_of_ec2() -> None:
    known = {name: number for name in INSTANCE_TYPES if (number := vcpus(name)) is not None}
    assert len(known) > 500
    assert known == {name: INSTANCE_TYPES[name]["VCpuInfo"]["DefaultVCpus"] for name in known}


def test_gpus_are_those_of_ec2() -> None:
    known = {name: found for name in INSTANCE_TYPES if (found := gpus(name)) is not None}
    assert sum(number > 0 for number, _ in known.values()) > 30
    for name, (number, kind) in known.items():
        real = INSTANCE_TYPES[name].get("GpuInfo", {}).get("Gpus", [])
        assert number == sum(gpu["Count"] for gpu in real), name
        assert [kind] * len(real) == [gpu["Name"] for gpu in real], name


@pytest.mark.parametrize(
    ("name", "found"), [("p3.8xlarge", (4, "V100")), ("m6i.2xlarge", (0, "")), ("trn1.2xlarge", None)]
)
def test_gpus(name: str, found: tuple[int, str] | None) -> None:
    assert gpus(name) == found


def test_gpus_that_are_too_old_are_those_for_which_pytorch_has_no_code() -> None:
    capability = {"V100": 70, "T4": 75, "A100": 80, "A10G": 86, "L4": 89, "L40S": 89, "H100": 90, "H200": 90}
    kinds = {found[1] for name in INSTANCE_TYPES if (found := gpus(name)) is not None and found[0]}
    assert kinds == set(capability)
    if not (torch.version.cuda or "").startswith("13."):  # which the pinned PyTorch is built for
        pytest.skip("this PyTorch is not built for CUDA 13")
    flags = torch._C._cuda_getArchFlags()
    compiled = [int(number) for number in re.findall(r"sm_(\d+)", flags)]
    runs = {
        kind
        for kind, number in capability.items()
        if any(code // 10 == number // 10 and code <= number for code in compiled)  # within a major version, upwards
    }
    assert set(TOO_OLD) == kinds - runs
