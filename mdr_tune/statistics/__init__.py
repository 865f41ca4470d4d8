"""Judge differences by intervals, paired tests, Holm's correction and the bootstrap. Needs numpy and scipy only."""

from mdr_tune.statistics.bootstrap import bootstrap_difference, bootstrap_mean, bootstrap_means
from mdr_tune.statistics.interval import Interval, mean_interval, smallest_separated
from mdr_tune.statistics.paired import PairedDifference, holm, paired_difference

__all__ = [
    "Interval",
    "PairedDifference",
    "bootstrap_difference",
    "bootstrap_mean",
    "bootstrap_means",
    "holm",
    "mean_interval",
    "paired_difference",
    "smallest_separated",
]
