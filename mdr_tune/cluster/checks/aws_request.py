"""The `node_config` of AWS against botocore's description of the request that it becomes (RunInstances)."""

from collections.abc import Iterator
from typing import Any

from mdr_tune.cluster.aws_model import run_instances
from mdr_tune.cluster.checks.schema import unknown_key
from mdr_tune.cluster.cluster_file import ClusterFile, Problem
from mdr_tune.config.yaml_lines import KeyPath
from mdr_tune.util.registry import did_you_mean

_OF_RAY = "SubnetIds"  # not a parameter of the request: Ray takes the subnets from it in turn
_SET_BY_RAY = ("MinCount", "MaxCount", "SubnetId")
_SCALARS: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "text"),
    "character": ((str,), "text"),
    "integer": ((int,), "a whole number"),
    "long": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "double": ((int, float), "a number"),
    "boolean": ((bool,), "true or false"),
}


def check_node_config(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield unknown keys, wrong types and unknown names (of instance types too) in each `node_config`."""
    if not cluster.is_aws:
        return
    shape = run_instances()
    for _, path, node_type in cluster.node_types():
        config, here = dict(node_type.get("node_config", {})), (*path, "node_config")
        subnets = config.pop(_OF_RAY, [])
        if not isinstance(subnets, list) or not all(isinstance(subnet, str) for subnet in subnets):
            yield Problem((*here, _OF_RAY), f"expected a list of subnets, got {subnets!r}")
        for key in _SET_BY_RAY:
            if key in config:
                instead = f"; use {_OF_RAY}" if key == "SubnetId" else ""
                yield Problem((*here, key), f"Ray sets it itself{instead}: leave it out")
        if "InstanceType" not in config:
            yield Problem((*here, "InstanceType"), "is missing")
        yield from _against(shape, config, here)


def _against(shape: Any, value: Any, path: KeyPath) -> Iterator[Problem]:
    """Yield how a value differs from a shape of botocore."""
    if shape.type_name == "structure":
        yield from _against_structure(shape, value, path)
    elif shape.type_name == "list":
        if not isinstance(value, list):
            yield Problem(path, f"expected a list, got {value!r}")
            return
        for i, item in enumerate(value):
            yield from _against(shape.member, item, (*path, str(i)))
    elif shape.type_name in _SCALARS:
        yield from _against_scalar(shape, value, path)


def _against_structure(shape: Any, value: Any, path: KeyPath) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(path, f"expected a mapping, got {value!r}")
        return
    for key, item in value.items():
        if key in shape.members:
            yield from _against(shape.members[key], item, (*path, str(key)))
        else:
            yield Problem((*path, str(key)), unknown_key(str(key), list(shape.members)))


def _against_scalar(shape: Any, value: Any, path: KeyPath) -> Iterator[Problem]:
    types, words = _SCALARS[shape.type_name]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        yield Problem(path, f"expected {words}, got {value!r}")
        return
    known = list(getattr(shape, "enum", []))
    if known and value not in known:
        listed = f" Known: {', '.join(known)}." if len(known) <= 12 else ""
        yield Problem(path, f"AWS knows no {value!r} here.{did_you_mean(str(value), known)}{listed}")
