"""Judge differences by intervals, paired tests, Holm's correction and the bootstrap. Needs numpy and scipy only."""

from mdr_tune.statistics.bootstrap import bootstrap_difference, bootstrap_mean, bootstrap_means
from mdr_tune.statistics.folds import (
    FoldSeed,
    fold_means,
    mean_over_folds,
    paired_difference_over_folds,
    smallest_separated_over_folds,
)
from mdr_tune.statistics.interval import Interval, mean_interval, smallest_separated
from mdr_tune.statistics.paired import PairedDifference, holm, paired_difference

__all__ = [
    "FoldSeed",
    "Interval",
    "PairedDifference",
    "bootstrap_difference",
    "bootstrap_mean",
    "bootstrap_means",
    "fold_means",
    "holm",
    "mean_interval",
    "mean_over_folds",
    "paired_difference",
    "paired_difference_over_folds",
    "smallest_separated",
    "smallest_separated_over_folds",
]
