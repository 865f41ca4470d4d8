"""One trial on one rank: build, train an epoch, evaluate, checkpoint. Neither Ray nor MLflow; DDP where there are ranks."""

from mdr_tune.training.model import EmbeddingModel
from mdr_tune.training.ranks import Ranks
from mdr_tune.training.session import TrialDiverged, TrialSession

__all__ = ["EmbeddingModel", "Ranks", "TrialDiverged", "TrialSession"]
