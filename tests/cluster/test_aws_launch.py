"""What cluster.yaml asks of AWS, by Ray's own code against moto's EC2: machines, disks, firewall, roles."""

import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import yaml

from tests.cluster.aws_requests import BUCKET, REGION, SSH_FROM, TEMPLATE, Account, account_with_cluster


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with account_with_cluster(tmp_path_factory.mktemp("aws")) as account:
        yield account


@pytest.fixture(scope="module")
def head(account: Account) -> dict[str, Any]:
    (request,) = account.requests(account.by_user, "RunInstances")
    return request


@pytest.fixture(scope="module")
def worker(account: Account) -> dict[str, Any]:
    (request,) = account.requests(account.by_head, "RunInstances")
    return request


def tags(request: dict[str, Any]) -> dict[str, str]:
    (specification,) = request["TagSpecifications"]
    assert specification["ResourceType"] == "instance"
    return {tag["Key"]: tag["Value"] for tag in specification["Tags"]}


def test_the_head_is_one_on_demand_machine(head: dict[str, Any]) -> None:
    assert (head["InstanceType"], head["MinCount"], head["MaxCount"]) == ("m6i.2xlarge", 1, 1)
    assert "InstanceMarketOptions" not in head
    assert head["ImageId"].startswith("resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/")
    assert head["IamInstanceProfile"] == {"Name": "mdr-tune-head"}
    assert tags(head)["ray-cluster-name"] == "mdr-tune"
    assert tags(head)["ray-node-type"] == "head"


def test_the_worker_is_a_spot_machine_with_gpus(account: Account, worker: dict[str, Any]) -> None:
    assert (worker["InstanceType"], worker["InstanceMarketOptions"]) == ("g5.12xlarge", {"MarketType": "spot"})
    assert "/deeplearning/" in worker["ImageId"]
    assert worker["IamInstanceProfile"] == {"Name": "mdr-tune-worker"}
    assert (tags(worker)["ray-cluster-name"], tags(worker)["ray-user-node-type"]) == ("mdr-tune", "gpu_worker")
    resources = account.config["available_node_types"]["gpu_worker"]["resources"]
    assert (resources["CPU"], resources["GPU"], resources["accelerator_type:A10G"]) == (48, 4, 1)


@pytest.mark.parametrize("machine", ["head", "worker"])
def test_disks_are_encrypted_and_the_role_needs_a_token(machine: str, request: pytest.FixtureRequest) -> None:
    asked: dict[str, Any] = request.getfixturevalue(machine)
    (disk,) = asked["BlockDeviceMappings"]
    assert disk["DeviceName"] == "/dev/sda1"
    assert (disk["Ebs"]["Encrypted"], disk["Ebs"]["VolumeSize"], disk["Ebs"]["VolumeType"]) == (True, 200, "gp3")
    assert asked["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


@pytest.mark.parametrize("machine", ["head", "worker"])
def test_a_machine_is_in_the_group_and_in_one_zone(
    account: Account, machine: str, request: pytest.FixtureRequest
) -> None:
    asked: dict[str, Any] = request.getfixturevalue(machine)
    assert asked["SecurityGroupIds"] == [account.group]
    (subnet,) = boto3.client("ec2", REGION).describe_subnets(SubnetIds=[asked["SubnetId"]])["Subnets"]
    assert subnet["AvailabilityZone"] == "us-west-2a"


def test_the_key_is_made_for_the_user_alone(account: Account, head: dict[str, Any], worker: dict[str, Any]) -> None:
    assert head["KeyName"] == worker["KeyName"] == "mdr-tune"
    key = account.home / ".ssh" / "mdr-tune.pem"
    assert "PRIVATE KEY" in key.read_text()
    assert key.stat().st_mode & 0o777 == 0o600


def test_ssh_is_open_to_one_address_and_the_rest_to_the_group_alone(account: Account) -> None:
    (group,) = boto3.client("ec2", REGION).describe_security_groups(GroupIds=[account.group])["SecurityGroups"]
    rules = [
        (
            rule["IpProtocol"],
            rule.get("FromPort"),
            rule.get("ToPort"),
            [source["CidrIp"] for source in rule["IpRanges"]],
            [pair["GroupId"] for pair in rule["UserIdGroupPairs"]],
        )
        for rule in group["IpPermissions"]
    ]
    ssh, all_among_machines = sorted(rules, key=lambda rule: rule[0], reverse=True)
    assert ssh == ("tcp", 22, 22, [SSH_FROM], [])
    assert (all_among_machines[0], all_among_machines[3:]) == ("-1", ([], [account.group]))
    assert group["IpPermissionsEgress"][0]["IpRanges"][0]["CidrIp"] == "0.0.0.0/0"


def test_ray_makes_no_group_and_no_role(account: Account) -> None:
    made = {operation for _, operation, _ in account.by_user if operation.startswith(("Create", "Authorize", "Attach"))}
    assert made == {"CreateKeyPair"}


def test_ray_down_keeps_the_heads_disk_and_gives_spot_workers_back(account: Account) -> None:
    assert account.worker_state in ("shutting-down", "terminated")
    assert account.head_state in ("stopping", "stopped")


def role_actions(role: str) -> dict[str, list[str]]:
    iam = boto3.client("iam", REGION)
    found: dict[str, list[str]] = {}
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        text = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        document = yaml.safe_load(text) if isinstance(text, str) else text  # moto gives it as Python prints it
        for statement in document["Statement"]:
            assert statement["Effect"] == "Allow"
            actions, resources = statement["Action"], statement["Resource"]
            for action in [actions] if isinstance(actions, str) else actions:
                found.setdefault(action, []).extend([resources] if isinstance(resources, str) else resources)
    return found


def test_the_heads_role_allows_what_the_autoscaler_calls_and_little_else(account: Account) -> None:
    allowed = role_actions("mdr-tune-head")
    called = {f"{service}:{operation}" for service, operation, _ in account.by_head}
    assert {"ec2:RunInstances", "ec2:CreateTags", "ec2:DescribeInstances", "ec2:TerminateInstances"} <= called
    assert called <= set(allowed)
    for_stopped_workers = {"ec2:StartInstances", "ec2:StopInstances"}
    not_by_ray = {"iam:PassRole", "ssm:GetParameters"}  # AWS asks for them inside of RunInstances
    assert {action for action in allowed if not action.startswith("s3:")} == called | for_stopped_workers | not_by_ray
    assert not any("*" in action for action in allowed)


def test_workers_may_read_the_bucket_and_nothing_else(account: Account) -> None:
    allowed = role_actions("mdr-tune-worker")
    assert set(allowed) == {"s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject"}
    assert all(
        re.fullmatch(rf"arn:aws:s3:::{BUCKET}(/\*)?", resource) for some in allowed.values() for resource in some
    )


@pytest.mark.parametrize(
    ("address", "accepted"),
    [
        ("198.51.100.7/32", True),
        ("10.0.0.0/16", True),
        ("0.0.0.0/0", False),
        ("10.0.0.0/8", False),
        ("198.51.100.7", False),
    ],
)
def test_the_stack_takes_no_address_that_is_the_world(address: str, accepted: bool) -> None:
    pattern = yaml.safe_load(TEMPLATE.read_text())["Parameters"]["SshFrom"]["AllowedPattern"]
    assert (re.fullmatch(pattern, address) is not None) == accepted


def test_the_stack_has_no_aliases_which_cloudformation_does_not_read() -> None:
    tokens = list(yaml.scan(TEMPLATE.read_text()))
    assert not [token for token in tokens if isinstance(token, yaml.AliasToken | yaml.AnchorToken)]
