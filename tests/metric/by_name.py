"""Losses and miners as a file names them."""

from typing import Any

from pydantic import TypeAdapter

from mdr_tune.config.losses import Loss, LossConfig
from mdr_tune.config.miners import Miner, MinerConfig
from mdr_tune.config.strict_model import members

LOSSES = list(members(Loss))
MINERS = [name for name in members(Miner) if name != "auto"]


def build_loss(name: str, arguments: dict[str, Any], embedding_size: int, num_classes: int) -> Any:
    return TypeAdapter(LossConfig).validate_python({"name": name, **arguments}).build(embedding_size, num_classes)


def build_miner(name: str, arguments: dict[str, Any]) -> Any:
    return TypeAdapter(MinerConfig).validate_python({"name": name, **arguments}).build()
