"""Both cluster files pass Ray's validation and our checks; a file with one mistake is refused for that mistake."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
def test_a_shipped_file_is_fine_once_it_is_set(shipped: Path, tmp_path: Path) -> None:
    file = tmp_path / shipped.name
    file.write_text(with_values_set(shipped.read_text()))
    assert problems(file) == []


@pytest.mark.parametrize("shipped", [AWS, ONPREM], ids=lambda file: file.name)
def test_a_shipped_file_is_refused_for_lines_marked_set_alone(shipped: Path) -> None:
    found = problems(shipped)
    assert found
    lines = shipped.read_text().splitlines()
    for problem in found:
        number = re.match(rf"{re.escape(str(shipped))}:(\d+): ", problem)
        assert number is not None, problem
        assert "# SET" in lines[int(number.group(1)) - 1], problem


def head(tree: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = tree["available_node_types"]["head"]["node_config"]
    return config


def worker(tree: dict[str, Any]) -> dict[str, Any]:
    node_type: dict[str, Any] = tree["available_node_types"]["gpu_worker"]
    return node_type


def in_start(tree: dict[str, Any], kind: str, old: str, new: str) -> None:
    commands = tree[f"{kind}_start_ray_commands"]
    assert old in commands[1]
    commands[1] = commands[1].replace(old, new)


def set_up_head(tree: dict[str, Any], number: int, old: str, new: str) -> None:
    commands = tree["head_setup_commands"]
    assert old in commands[number]
    commands[number] = commands[number].replace(old, new)


def open_port(address: str) -> Change:
    rule = {"FromPort": 22, "ToPort": 22, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": address}]}
    return lambda tree: tree["provider"].update(security_group={"IpPermissions": [rule]})


def on_interface(groups: dict[str, Any]) -> Change:
    def change(tree: dict[str, Any]) -> None:
        del head(tree)["SecurityGroupIds"]
        head(tree)["NetworkInterfaces"] = [{"DeviceIndex": 0, "SubnetId": "subnet-1", **groups}]

    return change


def on_no_interface() -> Change:
    return lambda tree: (head(tree).pop("SecurityGroupIds"), head(tree).update(NetworkInterfaces=[]))


AWS_MISTAKES: list[tuple[str, Change, str]] = [
    # Ray's schema, and keys
    ("unknown key", lambda t: t.update(max_worker=3), r"max_worker: unknown key. Did you mean 'max_workers'"),
    ("wrong type", lambda t: t.update(max_workers="two"), r"max_workers: expected a whole number, got 'two'"),
    ("no name", lambda t: t.pop("cluster_name"), r"cluster_name: is missing"),
    ("unknown provider", lambda t: t["provider"].update(type="gpc"), r"provider.type: expected aws or local"),
    ("provider's key", lambda t: t["provider"].update(regoin="x"), r"provider.regoin: unknown key.*'region'"),
    ("no such head type", lambda t: t.update(head_node_type="haed"), r"head_node_type` must be one of"),
    ("negative resources", lambda t: worker(t)["resources"].update(GPU=-4), r"resources.GPU: -4 is less than"),
    # region and zone
    ("region", lambda t: t["provider"].update(region="us-wset-2"), r"region: AWS has no region 'us-wset-2'"),
    ("zone", lambda t: t["provider"].update(availability_zone="eu-west-1a"), r"eu-west-1a is not a zone of us-west-2"),
    ("zone is a region", lambda t: t["provider"].update(availability_zone="us-west-2"), r"us-west-2 is not a zone"),
    # node_config against AWS's own description of the request
    ("key of AWS", lambda t: head(t).update(ImageID="ami-1"), r"node_config.ImageID: unknown key.*'ImageId'"),
    ("nested key", lambda t: head(t)["MetadataOptions"].update(HttpToken="required"), r"HttpToken: unknown key"),
    (
        "type of AWS",
        lambda t: head(t)["BlockDeviceMappings"][0]["Ebs"].update(VolumeSize="200"),
        r"VolumeSize: expected a",
    ),
    (
        "instance type",
        lambda t: worker(t)["node_config"].update(InstanceType="g5.13xlarge"),
        r"AWS knows no 'g5.13xlarge'",
    ),
    (
        "name of AWS",
        lambda t: worker(t)["node_config"]["InstanceMarketOptions"].update(MarketType="sopt"),
        r"no 'sopt'.*spot",
    ),
    ("no instance type", lambda t: head(t).pop("InstanceType"), r"InstanceType: is missing"),
    ("Ray's subnet", lambda t: head(t).update(SubnetId="subnet-1"), r"SubnetId: Ray sets it itself; use SubnetIds"),
    # machines
    ("GPUs", lambda t: worker(t)["resources"].update(GPU=8), r"resources.GPU: 8 is written, but g5.12xlarge has 4"),
    ("no GPUs written", lambda t: worker(t)["resources"].pop("GPU"), r"resources.GPU: 0 is written.* has 4"),
    ("GPU on the head", lambda t: t["available_node_types"]["head"]["resources"].update(GPU=1), r"m6i.2xlarge has 0"),
    ("CPUs", lambda t: worker(t)["resources"].update(CPU=96), r"CPU: 96 are asked for, but g5.12xlarge has 48"),
    ("no CPUs written", lambda t: worker(t)["resources"].pop("CPU"), r"resources.CPU: is missing: g5.12xlarge has 48"),
    (
        "kind of GPU",
        lambda t: worker(t)["resources"].update({"accelerator_type:A100": 1}),
        r"those of g5.12xlarge are A10G",
    ),
    (
        "old GPU",
        lambda t: worker(t)["node_config"].update(InstanceType="p3.8xlarge"),
        r"InstanceType: p3.8xlarge has V100 GPUs, too old for the pinned PyTorch",
    ),
    ("head on spot", lambda t: head(t).update(InstanceMarketOptions={"MarketType": "spot"}), r"must not be a spot"),
    ("no image", lambda t: head(t).pop("ImageId"), r"ImageId: is missing: Ray would take Ubuntu 18.04"),
    ("example image", lambda t: head(t).update(ImageId="ami-00000000"), r"ami-00000000 is an example"),
    ("no driver", lambda t: worker(t)["node_config"].update(ImageId=head(t)["ImageId"]), r"has no NVIDIA driver"),
    (
        "open disk",
        lambda t: head(t)["BlockDeviceMappings"][0]["Ebs"].update(Encrypted=False),
        r"Encrypted: expected true",
    ),
    (
        "small disk",
        lambda t: head(t)["BlockDeviceMappings"][0]["Ebs"].update(VolumeSize=8),
        r"VolumeSize: expected 50 GB",
    ),
    ("no disk", lambda t: head(t).pop("BlockDeviceMappings"), r"BlockDeviceMappings: is missing"),
    ("IMDSv1", lambda t: head(t)["MetadataOptions"].update(HttpTokens="optional"), r"expected {HttpTokens: required}"),
    ("no image's name", lambda t: head(t).update(ImageId="ubuntu"), r"ImageId: expected ami-... of your region"),
    ("Ray's own role", lambda t: head(t).pop("IamInstanceProfile"), r"head.*IamInstanceProfile: is missing: Ray would"),
    ("no role", lambda t: head(t).update(IamInstanceProfile={}), r"IamInstanceProfile: expected {Name: ...}"),
    ("no user", lambda t: t["auth"].pop("ssh_user"), r"auth.ssh_user: is missing"),
    ("name of the key", lambda t: t["provider"].update(key_pair="mine"), r"key_pair: expected {key_name: NAME}"),
    ("key without name", lambda t: t["auth"].update(ssh_private_key="~/.ssh/mdr_tune"), r"KeyName: is missing"),
    (
        "a number for a key",
        lambda t: head(t).update({7: 1}),
        r"node_config.7: expected text as a key, got 7: put it in",
    ),
    ("the home of nobody", lambda t: t["file_mounts"].update({"/x": "~no_user/x"}), r"/x: ~no_user/x"),
    # counts
    ("negative", lambda t: worker(t).update(min_workers=-1), r"min_workers: expected 0 or more, got -1"),
    ("negative in all", lambda t: t.update(max_workers=-2), r"max_workers|smaller than"),
    ("min over max", lambda t: worker(t).update(min_workers=2, max_workers=1), r"2 is more than the max_workers"),
    (
        "more than all",
        lambda t: worker(t).update(max_workers=4),
        r"max_workers: 4 is more than max_workers of the clus",
    ),
    ("nobody trains", lambda t: worker(t).update(max_workers=0), r"max_workers: no worker may ever start"),
    ("nobody at all", lambda t: t.update(max_workers=0), r"max_workers: no worker may ever start"),
    ("no time-out", lambda t: t.pop("idle_timeout_minutes"), r"idle_timeout_minutes: is missing"),
    ("time-out 0", lambda t: t.update(idle_timeout_minutes=0), r"expected more than 0 minutes"),
    # who can reach it
    ("no group", lambda t: worker(t)["node_config"].pop("SecurityGroupIds"), r"port 22 is open to the world"),
    ("empty group", lambda t: head(t).update(SecurityGroupIds=[]), r"port 22 is open to the world"),
    ("example group", lambda t: head(t).update(SecurityGroupIds=["sg-00000000"]), r"sg-00000000 is an example"),
    ("name of a group", lambda t: head(t).update(SecurityGroupIds=["default"]), r"expected the id of a security group"),
    ("open to the world", open_port("0.0.0.0/0"), r"CidrIp: 0.0.0.0/0 is the whole internet"),
    ("open to half the world", open_port("0.0.0.0/1"), r"CidrIp: 0.0.0.0/1 is a large part of the internet"),
    ("interface without group", on_interface({}), r"NetworkInterfaces.0.Groups: is missing"),
    ("no interface", on_no_interface(), r"SecurityGroupIds: is missing: .* port 22 is open to the world"),
    ("interface's group", on_interface({"Groups": ["sg-00000000"]}), r"Interfaces.0.Groups.0: sg-00000000 is an exa"),
    ("example address", open_port("203.0.113.7/32"), r"203.0.113.7/32 is an address for examples"),
    (
        "dashboard",
        lambda t: in_start(t, "head", "--dashboard-host=127.0.0.1", "--dashboard-host 0.0.0.0"),
        r"=0.0.0.0: exp",
    ),
    ("Ray's default start", lambda t: t.pop("head_start_ray_commands"), r"--dashboard-host=0.0.0.0"),
    ("client's port", lambda t: in_start(t, "head", "10001", "12345"), r"12345 is one of the workers' ports"),
    (
        "no autoscaler",
        lambda t: in_start(t, "head", "--autoscaling-config=~/ray_bootstrap_config.yaml", ""),
        r"no worker would",
    ),
    ("no head", lambda t: t.update(head_start_ray_commands=["ray stop"]), r"nothing in it runs `ray start --head`"),
    (
        "not joined",
        lambda t: t.update(worker_start_ray_commands=["ray stop"]),
        r"nothing in it runs `ray start --address",
    ),
    ("MLflow", lambda t: t["head_setup_commands"].append("mlflow server --host 0.0.0.0"), r"MLflow on 0.0.0.0"),
    (
        "our MLflow",
        lambda t: t["head_setup_commands"].append("mdr-tune mlflow-server install --host=10.0.0.1"),
        r"MLflow on",
    ),
    *(
        (
            f"MLflow behind {line.split()[0]}",
            lambda t, line=line: t["head_setup_commands"].append(line),
            "MLflow on 0.0",
        )
        for line in (
            "nohup mlflow server --host 0.0.0.0 &",
            "sudo -u x mlflow server --host 0.0.0.0",
            "python3.11 -m mlflow server --host 0.0.0.0",
            "bash -lc 'mlflow server --host 0.0.0.0'",
            "if true; then mlflow ui -h 0.0.0.0; fi",
            "MLFLOW_HOST=0.0.0.0 mlflow server",
        )
    ),
    (
        "a second head",
        lambda t: t["head_start_ray_commands"].append("if true; then ray start --head --dashboard-host=0.0.0.0; fi"),
        r"head_start_ray_commands.2: --dashboard-host=0.0.0.0",
    ),
    ("no token", lambda t: in_start(t, "head", "RAY_AUTH_MODE=token", ""), r"head_start.*expected RAY_AUTH_MODE=token"),
    ("token off", lambda t: in_start(t, "worker", "MODE=token", "MODE=disabled"), r"worker_start.*it is 'disabled'"),
    (
        "token not copied",
        lambda t: t["file_mounts"].pop("~/.ray/auth_token"),
        r"file_mounts: expected ~/.ray/auth_token",
    ),
    # secrets
    (
        "credentials",
        lambda t: t["provider"].update(aws_credentials={"aws_access_key_id": "x"}),
        r"aws_credentials: keys of",
    ),
    (
        "key of AWS in a command",
        lambda t: t["setup_commands"].append("echo AKIA" + "ABCDEFGHIJKLMNOP"),
        r"a key of AWS is",
    ),
    (
        "password",
        lambda t: t["setup_commands"].append("export DB_PASSWORD=hunter2"),
        r"a password or token is written here",
    ),
    (
        "password in a URI",
        lambda t: t["setup_commands"].append("echo postgresql://me:pw@db/runs"),
        r"a password in an addr",
    ),
    (
        "private key",
        lambda t: head(t).update(UserData="-----BEGIN OPENSSH PRIVATE KEY-----"),
        r"a private key is written",
    ),
    ("token of a program", lambda t: t["setup_commands"].append("tool login --token a1b2"), r"token is written here"),
    (
        "Ray's token",
        lambda t: t["setup_commands"].append("echo a1b2c3 > ~/.ray/auth_token"),
        r"Ray's token is written here",
    ),
    # what is installed
    ("Ray's default set-up", lambda t: t.pop("setup_commands"), r"setup_commands: installs an unreleased version"),
    ("nightly", lambda t: t["setup_commands"].append("pip install -U https://x/ray-wheels/ray.whl"), r"unreleased"),
    ("other version", lambda t: t["setup_commands"].append("pip install ray==2.9.0"), r"ray==2.9.0, but.* pins ray=="),
    ("any version", lambda t: t["setup_commands"].append("uv pip install --upgrade torch"), r"installs torch, but"),
    ("nothing installed", lambda t: t.update(worker_setup_commands=[]), r"worker_setup_commands: nothing installs the"),
    (
        "nothing installed on a type",
        lambda t: worker(t).update(worker_setup_commands=["echo"]),
        r"gpu_worker.worker_setup_commands: nothing installs the project.* take the place of the shared ones",
    ),
    (
        "script not copied",
        lambda t: t["file_mounts"].pop("~/mdr_tune/clusters"),
        r"no entry of file_mounts puts it there",
    ),
    ("package not copied", lambda t: t["file_mounts"].pop("~/mdr_tune/mdr_tune"), r"~/mdr_tune/mdr_tune: is missing"),
    (
        "head as a worker",
        lambda t: set_up_head(t, 0, "setup_node.sh --head", "setup_node.sh"),
        r"expected setup_node.sh --",
    ),
    (
        "MLflow's option",
        lambda t: set_up_head(t, 1, "install", "install --prot 5000"),
        r"arguments: --prot",
    ),
    ("MLflow's help", lambda t: set_up_head(t, 1, "install", "install --help"), r"unrecognized arguments: --help"),
    ("MLflow's action", lambda t: set_up_head(t, 1, "install", "instal"), r"invalid choice: 'instal'"),
    ("MLflow's port", lambda t: set_up_head(t, 1, "install", "install --port 5001"), r"--port 5001: leave it out"),
    (
        "example bucket",
        lambda t: set_up_head(t, 1, "install", "install --artifacts-destination s3://BUCKET/mlflow"),
        r"head_setup_commands.1: s3://BUCKET is an example",
    ),
    ("worker's port", lambda t: in_start(t, "worker", ":6379", ":6380"), r"joins port 6380: expected 6379"),
    ("head's port", lambda t: in_start(t, "head", "--port=6379", "--port=6400"), r"--port=6400: expected 6379"),
    ("ARM", lambda t: head(t).update(InstanceType="m6g.2xlarge"), r"is for x86_64, but m6g.2xlarge is an ARM machine"),
    # paths
    ("no folder", lambda t: t["file_mounts"].update({"~/x": "not_there"}), r"not_there: no such file or folder in "),
    ("everything", lambda t: t["file_mounts"].update({"~/all": "."}), r"\. holds .*reads all files below"),
]


@pytest.mark.parametrize(("change", "message"), [m[1:] for m in AWS_MISTAKES], ids=[m[0] for m in AWS_MISTAKES])
def test_a_mistake_in_a_file_for_aws_is_named(change: Change, message: str, tmp_path: Path) -> None:
    found = aws(tmp_path, change)
    assert any(re.search(message, problem) for problem in found), found


ONPREM_MISTAKES: list[tuple[str, Change, str]] = [
    (
        "example address",
        lambda t: t["provider"].update(head_ip="192.0.2.1"),
        r"head_ip: 192.0.2.1: is an address for ex",
    ),
    ("no address", lambda t: t["provider"].update(worker_ips=[7]), r"worker_ips.0: expected an address or a host name"),
    ("empty address", lambda t: t["provider"].update(head_ip=" "), r"head_ip: expected an address or a host name"),
    (
        "autoscaler",
        lambda t: in_start(t, "head", "RAY_enable_autoscaler_v2=0", ""),
        r"head_start.*expected RAY_enable_autoscaler_v2=0",
    ),
    *(
        (f"worker {ip}", lambda t, ip=ip: t["provider"].update(worker_ips=[ip]), rf"worker_ips.0: {ip}: {why}")
        for ip, why in (
            ("10.0.0.311", "is no IPv4 address"),
            ("127.0.0.1", "is the machine's own address for itself"),
            ("10.0.0.11:22", "expected the address alone; a port"),
            ("mdr@10.0.0.11", "expected the address alone; the user"),
            ("gpu 1", "is no address or host name"),
        )
    ),
    ("twice", lambda t: t["provider"].update(worker_ips=["10.1.0.10"]), r"worker_ips.0: 10.1.0.10 stands twice"),
    ("no head", lambda t: t["provider"].pop("head_ip"), r"provider.head_ip: is missing"),
    ("provider's key", lambda t: t["provider"].update(worker_ip=["10.1.0.9"]), r"worker_ip: unknown key.*'worker_ips'"),
    ("no key", lambda t: t["auth"].pop("ssh_private_key"), r"ssh_private_key: is missing"),
    ("key not there", lambda t: t["auth"].update(ssh_private_key="~/.ssh/other"), r"~/.ssh/other: no such file"),
    ("dashboard", lambda t: in_start(t, "head", "127.0.0.1", "0.0.0.0"), r"--dashboard-host=0.0.0.0"),
    ("no token", lambda t: in_start_of_worker(t), r"worker_start.*expected RAY_AUTH_MODE=token"),
    (
        "nothing installed",
        lambda t: t.update(head_setup_commands=[]),
        r"head_setup_commands: nothing installs the project",
    ),
]


def in_start_of_worker(tree: dict[str, Any]) -> None:
    commands = tree["worker_start_ray_commands"]
    commands[-1] = commands[-1].replace("RAY_AUTH_MODE=token", "")


@pytest.mark.parametrize(("change", "message"), [m[1:] for m in ONPREM_MISTAKES], ids=[m[0] for m in ONPREM_MISTAKES])
def test_a_mistake_in_a_file_for_own_machines_is_named(change: Change, message: str, tmp_path: Path) -> None:
    found = onprem(tmp_path, change)
    assert any(re.search(message, problem) for problem in found), found


def test_a_mistake_is_the_only_thing_that_is_named(tmp_path: Path) -> None:
    assert len(aws(tmp_path, lambda t: t["provider"].update(availability_zone="eu-west-1a"))) == 1
    assert len(aws(tmp_path, lambda t: in_start(t, "worker", "RAY_AUTH_MODE=token", ""))) == 1


def test_all_mistakes_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    def three(tree: dict[str, Any]) -> None:
        tree["setup_commands"].append("pip install torch")
        tree["provider"]["regoin"] = "x"
        head(tree)["MetadataOptions"]["HttpTokens"] = "optional"

    found = aws(tmp_path, three)
    lines = [int(problem.split(":")[1]) for problem in found]
    assert lines == sorted(lines)
    assert len(found) >= 3


def test_what_is_right_is_not_refused(tmp_path: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        install = "bash ~/mdr_tune/clusters/setup_node.sh"
        worker(tree)["worker_setup_commands"] = [f"nice -n 5 {install}"]
        tree["worker_setup_commands"] = []  # no type uses the shared ones
        tree["head_setup_commands"] += ["sudo apt-get install -y tmux", "tool login --token $(cat ~/.token)"]
        open_port("198.18.0.0/16")(tree)
        on_interface({"Groups": head(tree)["SecurityGroupIds"]})(tree)

    assert aws(tmp_path, change) == []


def test_a_secret_is_not_repeated_in_the_message(tmp_path: Path) -> None:
    found = aws(tmp_path, lambda t: t["setup_commands"].append("export DB_PASSWORD=hunter2"))
    assert found
    assert "hunter2" not in "".join(found)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (Path.home() / ".ssh" / "mdr_tune").chmod(0o644)
    assert any("chmod 600" in problem for problem in onprem(tmp_path, lambda _: None))


def test_a_token_that_was_not_made_is_named_with_the_command(tmp_path: Path) -> None:
    (Path.home() / ".ray" / "auth_token").unlink()
    assert any("ray get-auth-token --generate" in problem for problem in aws(tmp_path, lambda _: None))


def test_what_is_not_yaml_or_not_there_is_a_plain_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("cluster_name: [")
    assert "not valid YAML" in problems(broken)[0]
    broken.write_text("- a\n")
    assert "expected a mapping" in problems(broken)[0]
    assert "no such file" in problems(tmp_path / "other.yaml")[0]


def test_a_token_that_others_can_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "home" / ".ray" / "auth_token").chmod(0o644)
    (problem,) = aws(tmp_path, lambda t: t)
    assert problem.endswith(
        "file_mounts.~/.ray/auth_token: other users can read ~/.ray/auth_token: chmod 600 ~/.ray/auth_token"
    )
