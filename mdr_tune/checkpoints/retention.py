"""Choose which checkpoints of a trial are kept on the disk."""

from mdr_tune.records.trial_record import TrialRecord

LATEST = 2
"""Number of newest checkpoints that are kept. The second newest is needed if the newest turns out to be damaged."""


def superseded(record: TrialRecord, metric: str, keep_from: int) -> list[int]:
    """Return the epochs, ascending, whose checkpoints in `record` can be deleted.

    These checkpoints are kept: that of the best epoch by `metric`, the `LATEST` newest ones, and those from the epoch
    `keep_from` on, because another trial may still take them over.
    """
    epochs = sorted(record.checkpoints)
    best = record.best(metric)
    needed = {*epochs[-LATEST:], *(epoch for epoch in epochs if epoch >= keep_from), *([best[1]] if best else [])}
    return [epoch for epoch in epochs if epoch not in needed]
