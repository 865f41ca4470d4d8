"""`pml.<ClassName>`: which are known, what is refused and how, and that what is listed as unusable is."""

import warnings

import pytest
import torch
from pytorch_metric_learning import losses

from mdr_tune.metric import Triplets, build_loss
from mdr_tune.metric.library_loss import (
    _UNUSABLE,
    build_library_loss,
    check_library_loss,
    library_loss_is_angular,
    library_loss_names,
    library_loss_takes_mined,
)

NEEDED = {"RankedListLoss": {"margin": 0.4, "Tn": 1}}


@pytest.mark.parametrize("name", library_loss_names())
def test_what_is_listed_can_be_used(name):
    check_library_loss(f"pml.{name}", NEEDED.get(name, {}))


def test_every_class_of_the_library_is_listed_or_said_to_be_unusable():
    mixins = {"BaseLossWrapper", "EmbeddingRegularizerMixin", "WeightRegularizerMixin"}
    classes = {name for name, value in vars(losses).items() if isinstance(value, type)}
    assert classes - mixins == set(library_loss_names()) | set(_UNUSABLE)
    assert not set(library_loss_names()) & set(_UNUSABLE)


def test_dynamic_soft_margin_fails_at_its_second_step():
    loss = losses.DynamicSoftMarginLoss()
    embeddings = torch.rand(8, 4, requires_grad=True)
    loss(embeddings, torch.arange(8) % 4).backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss(embeddings, torch.arange(8) % 4).backward()


def test_smooth_ap_is_wrong_unless_a_batch_is_square():
    loss = losses.SmoothAPLoss(temperature=1e-3)

    def perfect(classes, images):
        """All images of a class alike, the classes at right angles: precision 1, up to ties within a class."""
        labels = torch.arange(classes).repeat_interleave(images)
        return loss(torch.eye(classes)[labels] + 1e-3 * torch.rand(len(labels), classes), labels).item()

    assert perfect(3, 3) == pytest.approx(0, abs=1e-3)
    assert abs(perfect(6, 2)) > 0.1


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("CircelLoss", {}, r"no loss 'CircelLoss'\. Did you mean pml\.CircleLoss .*Known: pml\.AngularLoss, "),
        ("BaseLossWrapper", {}, "no loss 'BaseLossWrapper'"),
        ("CrossBatchMemory", {}, "wraps another loss"),
        ("SelfSupervisedLoss", {}, "wraps another loss"),
        ("MultipleLosses", {}, "wraps other losses"),
        ("VICRegLoss", {}, "takes no labels"),
        ("CircleLoss", {"mm": 1}, r"no argument 'mm'\. Did you mean 'm'\? Known: m \(0\.4\), gamma \(80\)\."),
        ("SubCenterArcFaceLoss", {"subcenters": 2}, r"'sub_centers'.*margin \(28\.6\), scale \(64\)"),
        ("CircleLoss", {"distance": "cosine"}, "distance cannot be given in a file"),
        ("CircleLoss", {"embedding_reg_weight": 2}, "MDR is set under mdr"),
        ("CircleLoss", {"miner": "hard"}, "it is set under miner"),
        ("ArcFaceLoss", {"num_classes": 5}, "taken from the data set: leave it out"),
        ("P2SGradLoss", {"descriptors_dim": 5}, r"taken from embedding\.size: leave it out"),
        ("CircleLoss", {"collect_stats": True}, "always off"),
        ("CircleLoss", {"m": "0.4"}, r"m must be a number, such as 0\.4, its default; got '0\.4'"),
        ("CircleLoss", {"m": True}, "must be a number"),
        ("CircleLoss", {"m": None}, "must be a number"),
        ("TripletMarginLoss", {"swap": 1}, "true or false"),
        ("TripletMarginLoss", {"triplets_per_anchor": 2.5}, "1 or more, or 'all'"),
        ("PNPLoss", {"variant": 3}, "a text"),
        ("RankedListLoss", {}, "needs a value for margin and Tn"),
        ("SoftTripleLoss", {"centers_per_class": 2.5}, "cannot be used with"),
        ("PNPLoss", {"variant": "X"}, "must be one of"),
        ("NTXentLoss", {"temperature": 0.0}, "not finite|ZeroDivision"),
    ],
)
def test_mistakes_are_said(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        check_library_loss(f"pml.{name}", arguments)
    with pytest.raises(ValueError, match=message):
        build_loss(f"pml.{name}", arguments, 8, 4)


def test_arguments_arrive():
    loss = build_library_loss("pml.SubCenterArcFaceLoss", {"sub_centers": 2, "scale": 30}, 8, 5).loss
    assert (loss.W.shape, loss.scale) == ((8, 10), 30)
    assert build_library_loss("pml.P2SGradLoss", {}, 8, 5).loss.weight.shape == (8, 5)
    assert build_library_loss("pml.RankedListLoss", {"margin": 0.4, "Tn": 1, "alpha": None}, 8, 5).loss.alpha == 1.2
    assert build_library_loss("pml.TripletMarginLoss", {"triplets_per_anchor": 3}, 8, 5).loss.triplets_per_anchor == 3


def test_building_and_checking_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    check_library_loss("pml.SoftTripleLoss", {"gamma": 0.123})  # not remembered from another test
    assert torch.equal(torch.get_rng_state(), state)


def test_angular_losses():
    angular = {name for name in library_loss_names() if library_loss_is_angular(f"pml.{name}", NEEDED.get(name, {}))}
    assert angular >= {"CircleLoss", "ArcFaceLoss", "ProxyNCALoss", "FastAPLoss", "P2SGradLoss", "SupConLoss"}
    assert not angular & {
        "TripletMarginLoss",
        "ContrastiveLoss",
        "MarginLoss",
        "NPairsLoss",
        "NCALoss",
        "SphereFaceLoss",
    }


def test_which_losses_make_their_own_pairs():
    nothing = torch.tensor([0]), torch.tensor([4]), torch.tensor([1])
    refusing = set()
    for name in library_loss_names():
        loss = build_library_loss(f"pml.{name}", NEEDED.get(name, {}), 6, 4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                loss.loss(torch.rand(8, 6), torch.arange(8) % 4, nothing)
            except ValueError:
                refusing.add(name)
        assert loss.takes_mined == (name not in refusing)
        assert library_loss_takes_mined(f"pml.{name}", NEEDED.get(name, {})) == loss.takes_mined
        if not loss.takes_mined:
            with pytest.raises(ValueError, match="use the miner 'all'"):
                loss(torch.rand(8, 6), torch.arange(8) % 4, Triplets(*nothing, torch.zeros(())), torch.Generator())
    assert refusing == {"InstanceLoss", "P2SGradLoss", "PNPLoss", "RankedListLoss"}
