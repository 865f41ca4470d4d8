"""Both cluster files pass Ray's validation and our checks; a file with one mistake is refused for that mistake."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.cluster.checks.commands import Command, ray_starts
from mdr_tune.cluster.cluster_file import ClusterFile
from mdr_tune.cluster.file_check import check_cluster_file
from mdr_tune.util.errors import UserError
from tests.cluster.shipped import AWS, ONPREM, PROJECT, changed, make_home, with_values_set

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(make_home(tmp_path / "home")))
    monkeypatch.chdir(PROJECT)


def problems(file: Path) -> list[str]:
    try:
        check_cluster_file(file)
    except UserError as error:
        return str(error).splitlines()
    return []


def aws(tmp_path: Path, change: Change) -> list[str]:
    return problems(changed(AWS, tmp_path / "aws.yaml", change))


def onprem(tmp_path: Path, change: Change) -> list[str]:
    return problems(changed(ONPREM, tmp_path / "onprem.yaml", change))


@pytest.mark.parametrize("shipped", [AWS, ONPREM], ids=lambda file: file.name)
def test_a_shipped_file_is_fine_once_its_lines_marked_set_are_set(shipped: Path, tmp_path: Path) -> None:
    found = problems(shipped)
    assert found
    lines = shipped.read_text().splitlines()
    for problem in found:
        number = re.match(rf"{re.escape(str(shipped))}:(\d+): ", problem)
        assert number is not None, problem
        assert "# SET" in lines[int(number.group(1)) - 1], problem
    file = tmp_path / shipped.name
    file.write_text(with_values_set(shipped.read_text()))
    assert problems(file) == []


def head(tree: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = tree["available_node_types"]["head"]["node_config"]
    return config


def worker(tree: dict[str, Any]) -> dict[str, Any]:
    node_type: dict[str, Any] = tree["available_node_types"]["gpu_worker"]
    return node_type


def disk(tree: dict[str, Any]) -> dict[str, Any]:
    volume: dict[str, Any] = head(tree)["BlockDeviceMappings"][0]["Ebs"]
    return volume


def in_start(kind: str, old: str, new: str) -> Change:
    def change(tree: dict[str, Any]) -> None:
        commands = tree[f"{kind}_start_ray_commands"]
        assert old in commands[-1]
        commands[-1] = commands[-1].replace(old, new)

    return change


def set_up(line: str) -> Change:
    return lambda tree: tree["head_setup_commands"].append(line)


def open_to(address: str) -> Change:
    rule = {"FromPort": 22, "ToPort": 22, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": address}]}
    return lambda tree: tree["provider"].update(security_group={"IpPermissions": [rule]})


def on_interface(groups: dict[str, Any]) -> Change:
    def change(tree: dict[str, Any]) -> None:
        del head(tree)["SecurityGroupIds"]
        head(tree)["NetworkInterfaces"] = [{"DeviceIndex": 0, "SubnetId": "subnet-1", **groups}]

    return change


AWS_MISTAKES: list[tuple[Change, str]] = [
    # Ray's own validation
    (lambda t: t.update(max_worker=3), r"Ray refuses it: .*'max_worker' was unexpected"),
    (lambda t: t.update(max_workers="two"), r"max_workers: Ray refuses it: 'two' is not of type 'integer'"),
    (lambda t: t["provider"].update(type="gpc"), r"provider.type: expected aws or local"),
    # AWS's own description of the request
    (lambda t: head(t).update(ImageID="ami-1"), r'head.node_config: AWS refuses it: Unknown parameter .*"ImageID"'),
    (lambda t: head(t).update({7: 1}), r'node_config: AWS refuses it: Unknown parameter in input: "7"'),
    (lambda t: disk(t).update(VolumeSize="200"), r"Invalid type for parameter BlockDeviceMappings\[0\].Ebs.VolumeSize"),
    (
        lambda t: worker(t)["node_config"].update(InstanceType="g5.13xlarge"),
        r"AWS knows no 'g5.13xlarge'.*'g5.16xlarge'",
    ),
    (lambda t: head(t).pop("InstanceType"), r"InstanceType: is missing"),
    # machines
    (lambda t: worker(t)["resources"].update(GPU=8), r"resources.GPU: 8 is written, but g5.12xlarge has 4"),
    (lambda t: worker(t)["resources"].update(CPU=96), r"CPU: 96 are asked for, but g5.12xlarge has 48"),
    (lambda t: worker(t)["resources"].pop("CPU"), r"resources.CPU: is missing: g5.12xlarge has 48"),
    (lambda t: worker(t)["resources"].update({"accelerator_type:A100": 1}), r"those of g5.12xlarge are A10G"),
    (
        lambda t: worker(t)["node_config"].update(InstanceType="p3.8xlarge"),
        r"V100 GPUs, too old for the pinned PyTorch",
    ),
    (lambda t: head(t).update(InstanceMarketOptions={"MarketType": "spot"}), r"must not be a spot"),
    (lambda t: head(t).pop("ImageId"), r"ImageId: is missing: Ray would take Ubuntu 18.04"),
    (lambda t: head(t).update(ImageId="ami-00000000"), r"ami-00000000 is an example"),
    (lambda t: worker(t)["node_config"].update(ImageId=head(t)["ImageId"]), r"has no NVIDIA driver"),
    (lambda t: head(t).update(InstanceType="m6g.2xlarge"), r"is for x86_64, but m6g.2xlarge is an ARM machine"),
    (lambda t: worker(t).update(min_workers=2, max_workers=1), r"min_workers: 2 is more than max_workers"),
    (lambda t: worker(t).update(max_workers=0), r"max_workers: no worker may ever start"),
    # who can reach them
    (lambda t: worker(t)["node_config"].pop("SecurityGroupIds"), r"port 22 is open to the world"),
    (lambda t: head(t).update(SecurityGroupIds=["sg-00000000"]), r"sg-00000000 is an example"),
    (lambda t: head(t).update(SecurityGroupIds=["default"]), r"expected the id of a security group"),
    (on_interface({}), r"NetworkInterfaces.0.Groups: is missing"),
    (on_interface({"Groups": ["sg-00000000"]}), r"Interfaces.0.Groups.0: sg-00000000 is an exa"),
    (open_to("0.0.0.0/0"), r"CidrIp: 0.0.0.0/0 is the whole internet"),
    (open_to("0.0.0.0/1"), r"CidrIp: 0.0.0.0/1 is a large part of the internet"),
    (open_to("203.0.113.7/32"), r"203.0.113.7/32 is an address for examples"),
    (in_start("head", "--dashboard-host=127.0.0.1", "--dashboard-host 0.0.0.0"), r"=0.0.0.0: expected 127"),
    (lambda t: t.pop("head_start_ray_commands"), r"--dashboard-host=0.0.0.0"),
    (in_start("head", "--autoscaling-config=~/ray_bootstrap_config.yaml", ""), r"no worker would ever start"),
    (set_up("mdr-tune mlflow-server install --host=10.0.0.1"), r"MLflow on 10.0.0.1"),
    *(
        (set_up(line), r"head_setup_commands.2: MLflow on 0.0")
        for line in (
            "nohup mlflow server --host 0.0.0.0 &",
            "bash -lc 'cd /tmp; mlflow server --host 0.0.0.0'",
            "if true; then mlflow ui -h 0.0.0.0; fi",
            "MLFLOW_HOST=0.0.0.0 mlflow server",
        )
    ),
    (in_start("head", "RAY_AUTH_MODE=token", ""), r"head_start.*expected RAY_AUTH_MODE=token"),
    (in_start("worker", "MODE=token", "MODE=disabled"), r"worker_start.*it is 'disabled'"),
    (lambda t: t["file_mounts"].pop("~/.ray/auth_token"), r"file_mounts: expected ~/.ray/auth_token"),
    (lambda t: disk(t).update(Encrypted=False), r"Encrypted: expected true"),
    (lambda t: head(t).pop("BlockDeviceMappings"), r"BlockDeviceMappings: is missing"),
    (lambda t: head(t)["MetadataOptions"].update(HttpTokens="optional"), r"expected {HttpTokens: required}"),
    (lambda t: head(t).pop("IamInstanceProfile"), r"head.*IamInstanceProfile: is missing: Ray would"),
    # secrets
    (lambda t: t["provider"].update(aws_credentials={"aws_access_key_id": "x"}), r"aws_credentials: keys of"),
    (set_up("echo AKIA" + "ABCDEFGHIJKLMNOP"), r"a key of AWS is"),
    (set_up("export DB_PASSWORD=hunter2"), r"a password or token is written here"),
    (set_up("echo postgresql://me:pw@db/runs"), r"a password in an addr"),
    (lambda t: head(t).update(UserData="-----BEGIN OPENSSH PRIVATE KEY-----"), r"a private key is written"),
    (set_up("tool login --token a1b2"), r"token is written here"),
    (set_up("echo a1b2c3 > ~/.ray/auth_token"), r"Ray's token is written here"),
    # what is copied and installed
    (lambda t: t.pop("setup_commands"), r"setup_commands: installs an unreleased version"),
    (set_up("pip install ray==2.9.0"), r"ray==2.9.0, but.* pins ray=="),
    (set_up("uv pip install --upgrade torch"), r"installs torch, but"),
    (
        lambda t: worker(t).update(worker_setup_commands=["pip install torch"]),
        r"gpu_worker.worker_setup.*installs torch",
    ),
    (set_up("mdr-tune mlflow-server install --artifacts-destination s3://BUCKET/x"), r"s3://BUCKET is an example"),
    (lambda t: t["file_mounts"].update({"~/x": "not_there"}), r"not_there: no such file or folder"),
    (lambda t: t["file_mounts"].update({"/x": "~no_user/x"}), r"/x: ~no_user/x"),
]


@pytest.mark.parametrize(("change", "message"), AWS_MISTAKES, ids=[message for _, message in AWS_MISTAKES])
def test_a_mistake_in_a_file_for_aws_is_named(change: Change, message: str, tmp_path: Path) -> None:
    found = aws(tmp_path, change)
    assert any(re.search(message, problem) for problem in found), found
    assert not any(secret in problem for problem in found for secret in ("hunter2", "a1b2", "me:pw", "AKIA"))


ONPREM_MISTAKES: list[tuple[Change, str]] = [
    (lambda t: t["provider"].update(head_ip="192.0.2.1"), r"head_ip: 192.0.2.1: is an address for ex"),
    (lambda t: t["provider"].update(worker_ips=["192.0.2.11"]), r"worker_ips.0: 192.0.2.11: is an address for ex"),
    (lambda t: t["provider"].pop("head_ip"), r"provider.head_ip: is missing"),
    (in_start("head", "RAY_enable_autoscaler_v2=0", ""), r"head_start.*expected RAY_enable_autoscaler_v2=0"),
    (lambda t: t["auth"].pop("ssh_private_key"), r"ssh_private_key: is missing"),
    (lambda t: t["auth"].update(ssh_private_key="~/.ssh/other"), r"~/.ssh/other: no such file"),
    (in_start("head", "127.0.0.1", "0.0.0.0"), r"--dashboard-host=0.0.0.0"),
    (in_start("worker", "RAY_AUTH_MODE=token", ""), r"worker_start.*expected RAY_AUTH_MODE=token"),
]


@pytest.mark.parametrize(("change", "message"), ONPREM_MISTAKES, ids=[message for _, message in ONPREM_MISTAKES])
def test_a_mistake_in_a_file_for_own_machines_is_named(change: Change, message: str, tmp_path: Path) -> None:
    found = onprem(tmp_path, change)
    assert any(re.search(message, problem) for problem in found), found


def test_all_mistakes_and_nothing_else_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    def three(tree: dict[str, Any]) -> None:
        tree["setup_commands"].append("pip install torch")
        worker(tree)["resources"]["GPU"] = 8
        disk(tree)["Encrypted"] = False

    found = aws(tmp_path, three)
    lines = [int(problem.split(":")[1]) for problem in found]
    assert lines == sorted(lines)
    assert len(found) == 3


def test_what_is_right_is_not_refused(tmp_path: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["head_setup_commands"] += ["sudo apt-get install -y tmux", "tool login --token $(cat ~/.token)"]
        open_to("198.18.0.0/16")(tree)
        on_interface({"Groups": head(tree)["SecurityGroupIds"]})(tree)

    assert aws(tmp_path, change) == []


def test_a_token_that_was_not_made_or_that_others_can_read_is_named(tmp_path: Path) -> None:
    token = tmp_path / "home" / ".ray" / "auth_token"
    token.chmod(0o644)
    (problem,) = aws(tmp_path, lambda t: t)
    assert problem.endswith(
        "file_mounts.~/.ray/auth_token: other users can read ~/.ray/auth_token: chmod 600 ~/.ray/auth_token"
    )
    token.unlink()
    (problem,) = aws(tmp_path, lambda t: t)
    assert "ray get-auth-token --generate" in problem


def test_what_is_not_yaml_or_not_there_is_a_plain_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("cluster_name: [")
    assert "not valid YAML" in problems(broken)[0]
    broken.write_text("- a\n")
    assert "expected a mapping" in problems(broken)[0]
    assert "no such file" in problems(tmp_path / "other.yaml")[0]


def parsed(line: str) -> list[Command]:
    tree = {"head_start_ray_commands": [line]}
    return list(ray_starts(ClusterFile(Path("a.yaml"), tree, {}, tree), "head"))


@pytest.mark.parametrize(
    "line",
    [
        "ray stop && A=1 ray start --head --host=a --host b",
        "export A=1\nray start --head --host b",
        "ray stop || true; sudo -E -u me env A=1 ~/env/bin/ray start --head --host b &",
        "if true; then A=1 bash ~/mdr_tune/clusters/start_worker.sh --head --host=b; fi",
        "bash -lc 'ray stop; A=1 ray start --head --host=b'",
        "(ulimit -n 10; A=1 ray start --head --host b || exit 1)",
        "A=1 ray start --head --host b 'an open quote",
    ],
)
def test_a_start_of_ray_is_found_behind_what_runs_it(line: str) -> None:
    (command,) = (command for command in parsed(line) if command.option("--host"))
    assert command.variables["A"] == "1"
    assert command.option("--host") == "b"
    assert command.option("--ho") is None


def test_a_variable_of_another_command_does_not_count() -> None:
    (command,) = parsed("RAY_AUTH_MODE=token ray stop; ray start --head")
    assert command.variables == {}
