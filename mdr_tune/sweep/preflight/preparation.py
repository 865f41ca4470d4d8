"""Prepare a node before its workers take commands: check its versions and GPUs, and get weights and images onto it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdr_tune.config.arms import data_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.sweep import prepare
from mdr_tune.sweep.preflight.judge import BRING_DATA, of_versions
from mdr_tune.sweep.preflight.probe import versions
from mdr_tune.sweep.preflight.problems import Problem, as_lines
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress

if TYPE_CHECKING:
    import torch


def prepare_here(sweep: SweepConfig, stage: Callable[[str], None], progress: Progress) -> None:
    """Get the weights and the images of `sweep` onto this node.

    `stage` is called with each step that takes a while, `progress` while images are prepared.

    Raises:
        UserError: Weights or images cannot be obtained on this node.
    """
    if missing := prepare.missing_data(sweep):
        raise UserError("; ".join(missing))
    prepare.check_weights(sweep)
    prepare.prepare_weights(sweep, stage)
    prepare.prepare_data(sweep, progress)


def contents(sweep: SweepConfig) -> dict[str, str]:
    """Return a hash of this node's images, labels and splits for each data set that `sweep` may use.

    The key of a data set is its name followed by its arguments.
    """
    from mdr_tune.data import dataset_content

    variants = data_variants(sweep)
    return {f"{data.name} {data.arguments()}": dataset_content(data) for data in variants}


def different_data(here: dict[str, str], there: dict[str, str]) -> str:
    """Return a text on the data sets that differ between two nodes; "" if none differs.

    `here` and `there` are the results of `contents` on the driver's node and on another node.
    """
    differ = sorted({name.split()[0] for name in here if here[name] != there.get(name)})
    return f"the images or splits of {', '.join(differ)} are not those of the driver's node" if differ else ""


@dataclass(frozen=True)
class NodePreparation:
    """A callable that each worker of a lane runs before it takes commands, to check and prepare its node.

    A node may join the cluster long after the preflight, because the autoscaler started it or because it replaces a
    node that was lost. If the node is prepared already, the call is quick. `versions` and `contents` are the results of
    the functions of these names on the driver's node. `uses_gpus` says whether each worker has a GPU.
    """

    sweep: SweepConfig
    versions: dict[str, str]
    contents: dict[str, str]
    uses_gpus: bool

    def __call__(self) -> None:
        """Check versions and this worker's GPU, if any, prepare weights and images, and compare them with the driver's.

        Raises:
            UserError: This node cannot be used. The message says why, and what to do.
        """
        import ray

        address = ray.util.get_node_ip_address()
        problems = of_versions(self.versions, {address: {"versions": versions()}})
        if not problems:  # another version may not know the keys of this one
            problems = [*self._gpu_problems(address), *self._data_problems(address)]
        if problems:
            raise UserError("\n".join(as_lines(problems)))

    def _gpu_problems(self, address: str) -> list[Problem]:
        if not self.uses_gpus:
            return []
        from ray.train.torch import get_device

        return gpu_problems(address, get_device())

    def _data_problems(self, address: str) -> list[Problem]:
        try:
            prepare_here(self.sweep, lambda text: None, lambda what, done, total: None)
            what = different_data(self.contents, contents(self.sweep))
        except UserError as error:
            what = str(error)
        return [Problem("data", address, what, BRING_DATA)] if what else []


def gpu_problems(address: str, device: "torch.device") -> list[Problem]:
    """Compute a matrix product on `device`, this worker's GPU; return a problem if it fails or differs from the CPU's.

    `address` is that of this node.
    """
    import torch

    remedy = "look at nvidia-smi there, or take the machine out of the cluster"
    a = torch.arange(65536, dtype=torch.float64).reshape(256, 256) % 7 - 3  # whole numbers: sums are exact in any order
    try:
        moved = a.to(device)
        is_right = torch.equal((moved @ moved).cpu(), a @ a)
    except RuntimeError as error:
        return [Problem("GPUs", address, f"{device} cannot be used: {str(error).splitlines()[0]}", remedy)]
    return [] if is_right else [Problem("GPUs", address, f"{device} computes a wrong product", remedy)]
