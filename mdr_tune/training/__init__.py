"""Run one trial on one rank: build it, train epochs, evaluate, checkpoint. It uses DDP, but neither Ray nor MLflow."""

from mdr_tune.training.finite import TrialDiverged
from mdr_tune.training.model import EmbeddingModel
from mdr_tune.training.ranks import Ranks
from mdr_tune.training.session import TrialSession

__all__ = ["EmbeddingModel", "Ranks", "TrialDiverged", "TrialSession"]
