"""Metric learning: MDR, losses, miners, the exact gather of a batch from DDP ranks, and retrieval metrics.

Importing this package needs torch only. The modules that need pytorch-metric-learning (`library_*` and `regularizer`)
are not imported here.
"""

from mdr_tune.metric.batch_labels import BatchLabels
from mdr_tune.metric.distance import pairwise_distances
from mdr_tune.metric.distance_tiles import Statistics
from mdr_tune.metric.distance_weighted import DistanceWeightedMiner, MinerWeights, negative_weights
from mdr_tune.metric.embedding import EmbeddingMode, apply_embedding_mode, apply_test_mode
from mdr_tune.metric.gather import gather_in_rank_order, gather_without_gradient, shard_sizes, shard_slice
from mdr_tune.metric.mdr import MDRLoss
from mdr_tune.metric.metric_loss import MetricLoss
from mdr_tune.metric.mined import Mined, Miner, Pairs, Triplets
from mdr_tune.metric.retrieval import (
    QueryScores,
    examine_queries,
    metrics_from_sums,
    retrieval_metrics,
    score_queries,
)
from mdr_tune.metric.triplet import TripletLoss, triplet_margin_loss

__all__ = [
    "BatchLabels",
    "DistanceWeightedMiner",
    "EmbeddingMode",
    "MDRLoss",
    "MetricLoss",
    "Mined",
    "Miner",
    "MinerWeights",
    "Pairs",
    "QueryScores",
    "Statistics",
    "TripletLoss",
    "Triplets",
    "apply_embedding_mode",
    "apply_test_mode",
    "examine_queries",
    "gather_in_rank_order",
    "gather_without_gradient",
    "metrics_from_sums",
    "negative_weights",
    "pairwise_distances",
    "retrieval_metrics",
    "score_queries",
    "shard_sizes",
    "shard_slice",
    "triplet_margin_loss",
]
