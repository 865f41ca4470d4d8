"""Which checkpoints of a trial are kept on the disk."""

from mdr_tune.records.trial_record import TrialRecord

LATEST = 2
"""The newest, and the one before it, should the newest turn out to be damaged."""


def superseded(record: TrialRecord, metric: str, keep_from: int) -> list[int]:
    """Return the epochs whose checkpoints are needed no more.

    Needed are that of the best epoch, the newest, and those that another trial may still take over.

    Args:
        metric: By which the best epoch is chosen.
        keep_from: The first epoch whose checkpoint may be taken over.
    """
    epochs = sorted(record.checkpoints)
    best = record.best(metric)
    needed = {*epochs[-LATEST:], *(epoch for epoch in epochs if epoch >= keep_from), *([best[1]] if best else [])}
    return [epoch for epoch in epochs if epoch not in needed]
