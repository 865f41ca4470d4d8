"""What each node does before its workers take commands: versions are checked, weights and images brought onto it."""

from collections.abc import Callable
from dataclasses import dataclass

from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.errors import UserError
from mdr_tune.progress import Progress
from mdr_tune.sweep import prepare
from mdr_tune.sweep.preflight.judge import of_versions
from mdr_tune.sweep.preflight.probe import versions
from mdr_tune.sweep.preflight.problems import as_lines


def prepare_here(sweep: SweepConfig, stage: Callable[[str], None], progress: Progress) -> None:
    """Get the weights and the images of a sweep onto this node.

    Raises:
        UserError: They cannot be had here.
    """
    if missing := prepare.missing_data(sweep):
        raise UserError("; ".join(missing))
    prepare.prepare_weights(sweep, stage)
    prepare.prepare_data(sweep, progress)


def contents(sweep: SweepConfig) -> dict[str, str]:
    """Return a hash of the images, labels and splits of each data set of a sweep, as they are on this node."""
    from mdr_tune.data import dataset_content

    found = {}
    for data in section_variants(sweep.trial, sweep.space, "data"):
        arguments = data.arguments()
        found[f"{data.name} {arguments}"] = dataset_content(data.name, **arguments)
    return found


@dataclass(frozen=True)
class NodePreparation:
    """Called by each worker of a lane on its node, before it takes commands. Quick if all is in place.

    A node may have joined long after the preflight: started by the autoscaler, or in place of one that was lost.

    Attributes:
        sweep: Whose trials will run there.
        versions: Those of the driver's node; see `probe.versions`.
    """

    sweep: SweepConfig
    versions: dict[str, str]

    def __call__(self) -> None:
        """Check the versions, and prepare weights and images.

        Raises:
            UserError: This node cannot be used; the message says why and what to do.
        """
        import ray

        address = ray.util.get_node_ip_address()
        if problems := of_versions(self.versions, {address: {"versions": versions()}}):
            raise UserError("\n".join(as_lines(problems)))
        try:
            prepare_here(self.sweep, lambda text: None, lambda what, done, total: None)
        except UserError as error:
            raise UserError(f"data: on {address}: {error}") from error
