"""Normalised mutual information (NMI) of classes and of clusters of embeddings, for tables of older papers."""

import warnings

from torch import Tensor

CLUSTER_SEED = 0
"""Seed of k-means' first centres."""


def kmeans_nmi(embeddings: Tensor, labels: Tensor) -> float:
    """Return the NMI, in percent, of the classes and of as many clusters as there are classes.

    The clusters are those of scikit-learn's KMeans, started once by k-means++ with a fixed seed. NMI is the mutual
    information divided by the mean of both entropies, as in Oh Song et al., CVPR 2016. The last bits of k-means depend
    on the number of threads, and so may NMI.

    Args:
        embeddings: (N, D).
        labels: (N,), the class of each embedding.
    """
    from sklearn.cluster import KMeans  # here: it takes a second to import
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import normalized_mutual_info_score

    classes = labels.cpu().numpy()
    kmeans = KMeans(len(set(classes.tolist())), n_init=1, random_state=CLUSTER_SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different embeddings than classes
        clusters = kmeans.fit_predict(embeddings.float().cpu().numpy())
    return 100 * float(normalized_mutual_info_score(classes, clusters))
