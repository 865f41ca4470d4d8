"""A batch against the embeddings of earlier steps: the memory, and miners, losses and MDR with references."""

from collections import deque

import pytest
import torch
from torch.nn import functional

from mdr_tune.metric import BatchLabels, MDRLoss, Pairs, apply_embedding_mode, negative_weights
from mdr_tune.metric.cross_batch_memory import CrossBatchMemory
from mdr_tune.metric.distance_tiles import distances_to_references
from mdr_tune.metric.library_loss import library_loss_takes_memory
from mdr_tune.metric.mined import mined_triplets
from mdr_tune.metric.triplet import triplet_margin_loss
from tests.metric.by_name import LOSSES, build_loss, build_miner
from tests.metric.loss_cases import KNOWN_WARNINGS

pytestmark = KNOWN_WARNINGS
MINERS = ("distance_weighted", "random", "all", "hard", "semi_hard", "multi_similarity")
WITH_MEMORY = (
    *(name for name in LOSSES if name in ("triplet", "contrastive", "margin", "multi_similarity")),
    *(f"pml.{name}" for name in ("CircleLoss", "NTXentLoss", "SupConLoss", "TripletMarginLoss", "LiftedStructureLoss")),
)
N, D, EARLIER = 8, 4, 13


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_and_references():
    """Embeddings (8, 4) of two images a class, references (21, 4) with the batch at their end, and all labels."""
    references = torch.randn(EARLIER + N, D, dtype=torch.float64, generator=seeded())
    labels = torch.cat([torch.arange(EARLIER) % 5, torch.arange(N) % 4])
    return references[EARLIER:].clone(), references, BatchLabels.against(labels[EARLIER:], labels), labels


def test_the_memory_is_a_queue_that_the_state_dict_holds():
    memory, expected = CrossBatchMemory(7, 2), deque(maxlen=7)
    other = CrossBatchMemory(7, 2)
    for step in range(4):
        batch, labels = torch.randn(3, 2, generator=seeded(step)), torch.arange(3) + 10 * step
        memory.add(batch, labels)
        expected.extend(zip(batch, labels, strict=True))
        found, found_labels = memory.recall(batch, "none")
        assert torch.equal(found, torch.stack([embedding for embedding, _ in expected]))
        assert torch.equal(found_labels, torch.stack([label for _, label in expected]))
        other.load_state_dict(memory.state_dict())
        assert torch.equal(other.recall(batch, "none")[0], found)
        assert torch.equal(other.recall(batch, "none")[1], found_labels)
        assert other.share_filled == memory.share_filled == 100 * len(expected) / 7


def test_room_is_made_for_what_is_added_and_older_states_have_more():
    """States are read into a memory with room for fewer, and for more."""
    whole, small = CrossBatchMemory(1000, 2), CrossBatchMemory(1000, 2, most=6)
    for step in range(2):
        batch, labels = torch.randn(3, 2, generator=seeded(step)), torch.arange(3) + 10 * step
        for memory in (whole, small):
            memory.add(batch, labels)
        assert all(map(torch.equal, small.recall(batch, "none"), whole.recall(batch, "none")))
        assert small.share_filled == whole.share_filled == 100 * 3 * (step + 1) / 1000
        for one, other in ((whole, CrossBatchMemory(1000, 2, most=6)), (small, CrossBatchMemory(1000, 2))):
            other.load_state_dict(one.state_dict())
            assert all(map(torch.equal, other.recall(batch, "none"), one.recall(batch, "none")))
    assert len(small.embeddings) == 6


@pytest.mark.parametrize("mode", ["rescale", "l2", "none"])
def test_what_is_remembered_is_scaled_as_the_batch(mode):
    memory = CrossBatchMemory(6, D)
    batch = torch.randn(6, D, generator=seeded())
    memory.add(batch, torch.arange(6))
    torch.testing.assert_close(memory.recall(batch, mode)[0], apply_embedding_mode(batch, mode))


def test_labels_against_references_equal_a_naive_loop():
    _, _, known, labels = batch_and_references()
    pairs = [
        (i, j)
        for i in range(N)
        for j in range(EARLIER + N)
        if labels[EARLIER + i] == labels[j] and j != EARLIER + i  # not itself
    ]
    assert list(zip(known.anchors.tolist(), known.positives.tolist(), strict=True)) == pairs
    negatives = {i: int((labels != labels[EARLIER + i]).sum()) for i in range(N)}
    assert known.num_triplets == sum(negatives[i] for i, _ in pairs) == len(mined_triplets(None, known)[0])


@pytest.mark.parametrize("name", MINERS)
def test_miners_compare_anchors_of_the_batch_with_references(name):
    embeddings, references, known, labels = batch_and_references()
    mined = build_miner(name, {})(embeddings, known, seeded(), references)
    if isinstance(mined, Pairs):
        positive, negative = (mined.anchors, mined.positives), (mined.negative_anchors, mined.negatives)
    else:
        anchors, positives, negatives = mined_triplets(mined, known)
        positive, negative = (anchors, positives), (anchors, negatives)
    assert len(positive[0])
    assert len(negative[0])
    assert (labels[EARLIER + positive[0]] == labels[positive[1]]).all()
    assert (positive[1] != EARLIER + positive[0]).all()
    assert (labels[EARLIER + negative[0]] != labels[negative[1]]).all()
    assert (positive[1] < EARLIER).any()
    assert (positive[1] >= EARLIER).any()


@pytest.mark.parametrize("name", MINERS)
def test_a_memory_of_the_batch_alone_changes_no_choice(name):
    embeddings, labels = torch.randn(N, D, dtype=torch.float64, generator=seeded()), torch.arange(N) % 4
    of_itself = BatchLabels.against(labels, labels.clone())
    plain = build_miner(name, {})(embeddings, BatchLabels.of(labels), seeded(5))
    with_memory = build_miner(name, {})(embeddings, of_itself, seeded(5), embeddings.clone())
    if plain is None:
        assert with_memory is None
        return
    for one, other in zip(plain, with_memory, strict=True):
        torch.testing.assert_close(one, other)


def test_semi_hard_triplets_equal_a_naive_loop():
    embeddings, references, known, labels = batch_and_references()
    distances = torch.cdist(embeddings, references)
    expected = [
        (i, j, k)
        for i, j in zip(known.anchors.tolist(), known.positives.tolist(), strict=True)
        for k in range(EARLIER + N)
        if labels[EARLIER + i] != labels[k] and 0 < distances[i, k] - distances[i, j] <= 0.2
    ]
    mined = build_miner("semi_hard", {})(embeddings, known, seeded(), references)
    assert list(zip(*(part.tolist() for part in mined[:3]), strict=True)) == expected


@pytest.mark.parametrize("kind", ["official", "stable"])
def test_weights_of_references_are_those_of_one_large_batch(kind):
    embeddings, references, known, labels = batch_and_references()
    whole, fell_back = negative_weights(references, labels, kind)
    weights, anchors_fell_back = build_miner("distance_weighted", {"weights": kind})._weights(
        embeddings, known, references
    )
    torch.testing.assert_close(weights, whole[EARLIER:])
    assert torch.equal(anchors_fell_back, fell_back[EARLIER:])


def test_distances_to_references_are_euclidean():
    embeddings, references, _, _ = batch_and_references()
    torch.testing.assert_close(
        distances_to_references(embeddings, references[:EARLIER]), torch.cdist(embeddings, references[:EARLIER])
    )


@pytest.mark.parametrize("count", [50, None])
def test_the_triplet_loss_equals_torchs(count):
    embeddings, references, known, _ = batch_and_references()
    triplets = [part[:count] for part in mined_triplets(None, known)]
    assert (len(triplets[0]) > N * (N + EARLIER)) == (count is None)  # the two ways of `triplet_margin_loss`
    leaf, other = embeddings.clone().requires_grad_(), embeddings.clone().requires_grad_()
    value = triplet_margin_loss(leaf, *triplets, 0.2, references)
    anchors, positives, negatives = triplets
    expected = functional.triplet_margin_loss(other[anchors], references[positives], references[negatives], 0.2)
    (3 * value).backward()
    (3 * expected).backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(leaf.grad, other.grad)


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_losses_with_references_have_the_value_of_the_batch_if_they_are_the_batch(name):
    embeddings, labels = torch.randn(N, D, dtype=torch.float64, generator=seeded()), torch.arange(N) % 4
    loss, leaf = build_loss(name, {}, D, 4).double(), embeddings.clone().requires_grad_()
    plain = loss(leaf, BatchLabels.of(labels), None, seeded())
    value = loss(leaf, BatchLabels.against(labels, labels.clone()), None, seeded(), embeddings)
    torch.testing.assert_close(value, plain)
    value.backward()
    assert leaf.grad.any()


def test_the_librarys_losses_that_compare_an_embedding_with_itself_are_left_out():
    assert library_loss_takes_memory("pml.ContrastiveLoss")
    assert not library_loss_takes_memory("pml.NCALoss")
    assert not library_loss_takes_memory("pml.ProxyAnchorLoss")


@pytest.mark.parametrize("statistics", ["official", "offdiagonal"])
def test_mdr_of_batch_and_references_equals_a_naive_loop(statistics, monkeypatch):
    monkeypatch.setattr("mdr_tune.metric.distance_tiles._TILE_ROWS_CPU", 3)
    embeddings, references, _, _ = batch_and_references()
    references, levels = references[:EARLIER], (-1.0, 0.5)
    mdr = MDRLoss(levels, 0.9, statistics).double()
    leaf = embeddings.clone().requires_grad_()
    value = mdr(leaf, references)
    value.backward()

    naive, naive_levels = embeddings.clone().requires_grad_(), torch.tensor(levels).double().requires_grad_()
    everything = torch.cat([naive, references])
    entries = {(i, j): (naive[i] - everything[j]).norm() for i in range(N) for j in range(N + EARLIER) if i != j}
    counted = torch.stack([*entries.values()]).detach()
    if statistics == "official":
        counted = torch.cat([counted, torch.zeros(N)])  # the diagonal of the batch
    z = [(distance - counted.mean()) / counted.std() for distance in entries.values()]
    expected = sum((value - naive_levels).abs().min() for value in z) / len(z)
    expected.backward()
    torch.testing.assert_close(mdr.mean, counted.mean())
    torch.testing.assert_close(mdr.std, counted.std())
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(leaf.grad, naive.grad)
    torch.testing.assert_close(mdr.levels.grad, naive_levels.grad)
