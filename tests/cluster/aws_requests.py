"""Ray's own launch code against moto's AWS: `ray up`, then the head that starts and ends a worker. No network."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import botocore.client
import pytest
from moto import mock_aws

from tests.cluster.shipped import AWS, PROJECT, make_home

REGION = "us-west-2"
SSH_FROM = "198.51.100.7/32"
BUCKET = "a-bucket"
TEMPLATE = PROJECT / "clusters" / "aws_account.yaml"

Call = tuple[str, str, dict[str, Any]]  # service, operation, parameters


@dataclass
class Account:
    """An AWS account in which a cluster was started, and what was asked of it.

    Attributes:
        home: The user's home.
        group: The security group of the stack.
        config: What `ray up` gives to the head.
        by_user: Calls of `ray up`.
        by_head: Calls of the head's autoscaler: it starts a worker, tags it, lists, and ends it.
        worker_state: State of the worker after it was ended.
        head_state: State of the head after `ray down` had ended it.
    """

    home: Path
    group: str
    config: dict[str, Any] = field(default_factory=dict)
    by_user: list[Call] = field(default_factory=list)
    by_head: list[Call] = field(default_factory=list)
    worker_state: str = ""
    head_state: str = ""

    def requests(self, calls: list[Call], operation: str) -> list[dict[str, Any]]:
        """Return the parameters of all calls of an operation."""
        return [parameters for _, name, parameters in calls if name == operation]


@contextmanager
def account_with_cluster(folder: Path) -> Iterator[Account]:
    """Make the stack of clusters/aws_account.yaml, call Ray's `ray up` and let the head start a worker.

    Machines do not boot: what `ray up` does on them through ssh is left out.
    """
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        home = make_home(folder / "home")
        for name, value in (("HOME", str(home)), ("AWS_ACCESS_KEY_ID", "none"), ("AWS_SECRET_ACCESS_KEY", "none")):
            patch.setenv(name, value)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.delenv("AWS_PROFILE", raising=False)
        patch.chdir(PROJECT)
        account = Account(home, _make_stack(patch))
        file = folder / "cluster.yaml"
        file.write_text(AWS.read_text().replace("sg-00000000000000000", account.group))
        with _recorded(patch, account.by_user):
            account.config = _ray_up(file, patch)
        with _recorded(patch, account.by_head):
            account.worker_state = _start_and_end_worker(account.config)
        account.head_state = _end_head(account.config)
        yield account


def _make_stack(patch: pytest.MonkeyPatch) -> str:
    """Return the id of the security group of the stack."""
    _let_moto_import_api_gateway(patch)
    cloudformation = boto3.client("cloudformation", REGION)
    parameters = [
        {"ParameterKey": "SshFrom", "ParameterValue": SSH_FROM},
        {"ParameterKey": "Bucket", "ParameterValue": BUCKET},
    ]
    cloudformation.create_stack(
        StackName="mdr-tune",
        TemplateBody=TEMPLATE.read_text(),
        Parameters=parameters,
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    outputs = cloudformation.describe_stacks(StackName="mdr-tune")["Stacks"][0]["Outputs"]
    return str(next(output["OutputValue"] for output in outputs if output["OutputKey"] == "SecurityGroupId"))


def _let_moto_import_api_gateway(patch: pytest.MonkeyPatch) -> None:
    """Stand in for a package that moto's API Gateway wants: CloudFormation imports all services, this one unused."""
    package = ModuleType("openapi_spec_validator")
    exceptions = ModuleType("openapi_spec_validator.validation.exceptions")
    vars(package)["validate"] = None
    vars(exceptions)["OpenAPIValidationError"] = Exception
    for module in (package, ModuleType("openapi_spec_validator.validation"), exceptions):
        patch.setitem(sys.modules, module.__name__, module)


@contextmanager
def _recorded(patch: pytest.MonkeyPatch, calls: list[Call]) -> Iterator[None]:
    real = botocore.client.BaseClient._make_api_call

    def record(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        calls.append((client.meta.service_model.service_name, operation, parameters))
        return real(client, operation, parameters)

    with patch.context() as inner:
        inner.setattr(botocore.client.BaseClient, "_make_api_call", record)
        yield


def _ray_up(file: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Call what `ray up` calls; return the configuration that it would put on the head."""
    from ray.autoscaler._private import commands

    class NoUpdater:
        """Stands for the set-up of the machine by ssh, which needs one."""

        exitcode = 0

        def __init__(self, **_: Any) -> None: ...
        def start(self) -> None: ...
        def join(self) -> None: ...

    with patch.context() as inner:
        inner.setattr(commands, "NodeUpdaterThread", NoUpdater)
        config: dict[str, Any] = commands.create_or_update_cluster(
            str(file), None, None, no_restart=False, restart_only=False, yes=True, no_config_cache=True
        )
    return config


def _start_and_end_worker(config: dict[str, Any]) -> str:
    """Start a worker as the head's autoscaler (version 2) does, tag and end it; return its state then."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.instance_manager.node_provider import NodeProviderAdapter

    class Reader:
        def get_cached_autoscaling_config(self) -> Any:
            return AutoscalingConfig(config, skip_content_hash=True)

    provider = _provider(config)
    adapter = NodeProviderAdapter(provider, Reader())
    adapter._launch_nodes_by_type("gpu_worker", 1, "a-request")
    errors = adapter.poll_errors()
    assert not errors, errors[0].__cause__
    (worker,) = provider.non_terminated_nodes({"ray-node-type": "worker"})
    assert provider.is_running(worker)
    provider.set_node_tags(worker, {"ray-node-status": "up-to-date"})
    # EC2 notes the request of a spot machine in it, moto does not: by this Ray knows one, which cannot be stopped.
    provider.cached_nodes[worker].meta.data["SpotInstanceRequestId"] = "sir-0123456789"
    provider.terminate_nodes([worker])
    return _state(worker)


def _end_head(config: dict[str, Any]) -> str:
    """End the head as `ray down` does; return its state then."""
    provider = _provider(config)
    (head,) = provider.nodes_for_teardown({"ray-node-type": "head"})
    provider.terminate_nodes([head])
    return _state(head)


def _provider(config: dict[str, Any]) -> Any:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    return AWSNodeProvider(config["provider"], config["cluster_name"])


def _state(instance: str) -> str:
    found = boto3.client("ec2", REGION).describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return str(found["State"]["Name"])
