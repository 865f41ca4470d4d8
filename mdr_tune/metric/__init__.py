"""The method: MDR, losses, miners, the exact gather for DDP, retrieval metrics. Needs torch only."""

from mdr_tune.metric.distance import pairwise_distances
from mdr_tune.metric.distance_tiles import Statistics
from mdr_tune.metric.embedding import EmbeddingMode, apply_embedding_mode, apply_test_mode
from mdr_tune.metric.gather import gather_in_rank_order, gather_without_gradient, shard_sizes, shard_slice
from mdr_tune.metric.losses import TripletLoss
from mdr_tune.metric.mdr import MDRLoss
from mdr_tune.metric.miners import DistanceWeightedMiner, MinerWeights, Triplets, negative_weights
from mdr_tune.metric.retrieval import metrics_from_sums, retrieval_metrics, score_queries

__all__ = [
    "DistanceWeightedMiner",
    "EmbeddingMode",
    "MDRLoss",
    "MinerWeights",
    "Statistics",
    "TripletLoss",
    "Triplets",
    "apply_embedding_mode",
    "apply_test_mode",
    "gather_in_rank_order",
    "gather_without_gradient",
    "metrics_from_sums",
    "negative_weights",
    "pairwise_distances",
    "retrieval_metrics",
    "score_queries",
    "shard_sizes",
    "shard_slice",
]
