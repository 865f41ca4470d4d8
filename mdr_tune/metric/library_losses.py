"""The losses of pytorch-metric-learning that have a name of their own in a sweep file.

The embedding mode of a trial has decided what embeddings are, so losses on Euclidean distances and dot
products take them as they come, where the library would put them on the unit sphere. Those on cosines compare
directions by definition. Each takes the embedding size and the number of classes, needed or not, as
`mdr_tune.catalog.LOSSES` wants it.

Where a miner found nothing, the losses on pairs and triplets are 0, and those with a parameter for each class
weigh all embeddings alike. Averages are the library's: where it counts only pairs or triplets with a loss
above 0, that is said.
"""

from pytorch_metric_learning import distances, losses

from mdr_tune.metric.library_adapter import LibraryLoss


def build_contrastive(
    embedding_size: int, num_classes: int, pos_margin: float = 0.0, neg_margin: float = 1.0
) -> LibraryLoss:
    """Return the mean of max(0, d - pos_margin) over positive pairs plus that of max(0, neg_margin - d) over negative.

    Both means leave out pairs whose term is 0. Distances are not squared.
    Source: Hadsell et al., "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006.

    Args:
        embedding_size: not needed.
        num_classes: not needed.
        pos_margin: distance up to which a positive costs nothing, in the units of the embeddings.
        neg_margin: distance from which a negative costs nothing, in the units of the embeddings.
    """
    distance = distances.LpDistance(normalize_embeddings=False, collect_stats=False)
    return LibraryLoss(losses.ContrastiveLoss(pos_margin, neg_margin, distance=distance, collect_stats=False))


def build_margin(
    embedding_size: int,
    num_classes: int,
    margin: float = 0.2,
    beta: float = 1.2,
    nu: float = 0.0,
    learn_beta: bool = False,
) -> LibraryLoss:
    """Return the sum of max(0, d_ap - beta + margin) + max(0, beta - d_an + margin) over triplets, divided.

    The divisor is how many of these terms are above 0. With `learn_beta`, nu * beta is added.
    Source: Wu et al., "Sampling Matters in Deep Embedding Learning", ICCV 2017; beta is one for all classes.

    Args:
        embedding_size: not needed.
        num_classes: not needed.
        margin: half the gap between positives and negatives, in the units of the embeddings.
        beta: the distance in the middle of the gap, in the units of the embeddings.
        nu: weight of the regularisation of beta.
        learn_beta: whether beta is a parameter.
    """
    distance = distances.LpDistance(normalize_embeddings=False, collect_stats=False)
    return LibraryLoss(
        losses.MarginLoss(margin, nu, beta, learn_beta=learn_beta, distance=distance, collect_stats=False)
    )


def build_multi_similarity(
    embedding_size: int, num_classes: int, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5
) -> LibraryLoss:
    """Return the multi-similarity loss, on cosines s: the mean over anchors of two soft maxima.

    log(1 + sum_p exp(-alpha (s_p - base))) / alpha + log(1 + sum_n exp(beta (s_n - base))) / beta.
    Source: Wang et al., "Multi-Similarity Loss", CVPR 2019.

    Args:
        embedding_size: not needed.
        num_classes: not needed.
        alpha: sharpness for positives.
        beta: sharpness for negatives.
        base: the cosine from which both are measured.
    """
    return LibraryLoss(losses.MultiSimilarityLoss(alpha, beta, base, collect_stats=False))


def build_n_pair(embedding_size: int, num_classes: int) -> LibraryLoss:
    """Return the N-pair loss: cross-entropy of dot products, the first positive pair of each class in the batch.

    Of what a miner chose, it sees the first positive pair of each class.
    Source: Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", NeurIPS 2016.
    """
    distance = distances.DotProductSimilarity(normalize_embeddings=False, collect_stats=False)
    return LibraryLoss(losses.NPairsLoss(distance=distance, collect_stats=False))


def build_proxy_nca(embedding_size: int, num_classes: int, softmax_scale: float = 1.0) -> LibraryLoss:
    """Return ProxyNCA: cross-entropy of the negative squared distances to the proxies, all on the unit sphere.

    The own class is in the denominator, unlike in the paper. A miner weights each embedding by how often it
    is an anchor.
    Source: Movshovitz-Attias et al., "No Fuss Distance Metric Learning using Proxies", ICCV 2017.

    Args:
        embedding_size: D.
        num_classes: C, the number of proxies.
        softmax_scale: factor of the squared distances.
    """
    loss = losses.ProxyNCALoss(num_classes, embedding_size, softmax_scale=softmax_scale, collect_stats=False)
    return LibraryLoss(loss, num_classes)


def build_proxy_anchor(embedding_size: int, num_classes: int, margin: float = 0.1, alpha: float = 32.0) -> LibraryLoss:
    """Return Proxy-Anchor, on the cosines s of embeddings and proxies.

    The mean over proxies with a positive of log(1 + sum_p exp(-alpha (s_p - margin))), plus the mean over all
    proxies of log(1 + sum_n exp(alpha (s_n + margin))).
    Source: Kim et al., "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020.

    Args:
        embedding_size: D.
        num_classes: C, the number of proxies.
        margin: of a cosine.
        alpha: sharpness.
    """
    loss = losses.ProxyAnchorLoss(num_classes, embedding_size, margin, alpha, collect_stats=False)
    return LibraryLoss(loss, num_classes)


def build_arcface(embedding_size: int, num_classes: int, margin: float = 28.6, scale: float = 64.0) -> LibraryLoss:
    """Return ArcFace: cross-entropy of scaled cosines to class weights, the own angle raised by the margin.

    A miner weights each embedding by how often it appears.
    Source: Deng et al., "ArcFace", CVPR 2019.

    Args:
        embedding_size: D.
        num_classes: C, the number of weight vectors.
        margin: in degrees; 28.6 is the paper's 0.5 radians.
        scale: factor of the cosines.
    """
    loss = losses.ArcFaceLoss(num_classes, embedding_size, margin, scale, collect_stats=False)
    return LibraryLoss(loss, num_classes)
