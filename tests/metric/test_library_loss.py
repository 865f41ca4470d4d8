"""`pml.<ClassName>`: which are known, what is refused and how, and that what is listed as unusable is."""

import inspect
import warnings

import pytest
import torch
from pytorch_metric_learning import losses

from mdr_tune.metric import Triplets
from mdr_tune.metric.library_arguments import UNUSABLE
from mdr_tune.metric.library_loss import (
    build_library_loss,
    check_library_loss,
    library_loss_arguments,
    library_loss_is_angular,
    library_loss_names,
    library_loss_takes_mined,
)
from tests.metric.loss_cases import KNOWN_WARNINGS

pytestmark = KNOWN_WARNINGS

NEEDED = {"RankedListLoss": {"margin": 0.4, "Tn": 1}}


@pytest.mark.parametrize("name", library_loss_names())
def test_what_is_listed_can_be_used(name):
    check_library_loss(f"pml.{name}", NEEDED.get(name, {}))


def test_every_class_of_the_library_is_listed_or_said_to_be_unusable():
    mixins = {"BaseLossWrapper", "EmbeddingRegularizerMixin", "WeightRegularizerMixin"}
    classes = {name for name, value in vars(losses).items() if isinstance(value, type)}
    assert classes - mixins == set(library_loss_names()) | set(UNUSABLE)
    assert not set(library_loss_names()) & set(UNUSABLE)


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
        ("CircelLoss", {}, r"no loss 'CircelLoss'\. Did you mean pml\.CircleLoss or [^,]*\?$"),
        ("Zzz", {}, r"no loss 'Zzz'\. Known: pml\.AngularLoss, .*pml\.TupletMarginLoss\.$"),
        ("BaseLossWrapper", {}, "no loss 'BaseLossWrapper'"),
        ("CrossBatchMemory", {}, r"cannot be used: it wraps another loss, .*: write trial.memory$"),
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
        ("NTXentLoss", {"temperature": 0.0}, "temperature must be more than 0; got 0.0"),
        ("ArcFaceLoss", {"margin": 5000}, "margin must be an angle from 0 to below 180 degrees; got 5000"),
        ("SubCenterArcFaceLoss", {"margin": 180}, "from 0 to below 180 degrees"),
        ("TupletMarginLoss", {"margin": -1}, "from 0 to below 180 degrees"),
        ("AngularLoss", {"alpha": 100}, "alpha must be an angle from 0 to below 90 degrees; got 100"),
        ("TripletMarginLoss", {"margin": -0.1}, r"margin must be 0 or more; got -0\.1"),
        ("CircleLoss", {"m": -5}, "m must be from -1 to 1, as cosines are; got -5"),
        ("MultiSimilarityLoss", {"base": 1.5}, "base must be from -1 to 1"),
        ("RankedListLoss", {"margin": -1, "Tn": 1}, "margin must be 0 or more; got -1"),
        ("RankedListLoss", {"margin": 0.4, "Tn": 1, "alpha": -1}, "alpha must be 0 or more"),
        ("HistogramLoss", {"delta": -0.5}, "delta must be more than 0"),
        ("TripletMarginLoss", {"margin": float("nan")}, "margin must be 0 or more; got nan"),
        ("CosFaceLoss", {"margin": float("inf")}, "margin must be 0 or more; got inf"),
    ],
)
def test_mistakes_are_said(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        check_library_loss(f"pml.{name}", arguments)
    with pytest.raises(ValueError, match=message):
        build_library_loss(f"pml.{name}", arguments, 8, 4)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("CircleLoss", {"m": -0.2}),
        ("MultiSimilarityLoss", {"base": -0.5}),
        ("ThresholdConsistentMarginLoss", {"margin_minus": -0.1}),
        ("ArcFaceLoss", {"margin": 0}),
        ("AngularLoss", {"alpha": 89}),
        ("ContrastiveLoss", {"pos_margin": 0}),
    ],
)
def test_ranges_leave_room(name, arguments):
    check_library_loss(f"pml.{name}", arguments)


def numeric_arguments():
    for name in library_loss_names():
        for key, default in library_loss_arguments(f"pml.{name}").items():
            if not isinstance(default, bool | str):
                yield name, key


@pytest.mark.parametrize(("name", "key"), list(numeric_arguments()))
def test_numbers_far_below_zero_are_refused(name, key):
    with pytest.raises(ValueError, match=f"{key} must be .*; got -7"):
        check_library_loss(f"pml.{name}", NEEDED.get(name, {}) | {key: -7})


def test_the_arguments_that_a_file_may_give():
    assert library_loss_arguments("pml.CircleLoss") == {"m": 0.4, "gamma": 80}
    assert library_loss_arguments("pml.ArcFaceLoss") == {"margin": 28.6, "scale": 64}
    assert library_loss_arguments("pml.NPairsLoss") == {}
    assert library_loss_arguments("pml.RankedListLoss")["Tn"] is inspect.Parameter.empty
    with pytest.raises(ValueError, match="no loss 'CircelLoss'"):
        library_loss_arguments("pml.CircelLoss")
    with pytest.raises(ValueError, match="cannot be used: it wraps other losses"):
        library_loss_arguments("pml.MultipleLosses")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("HistogramLoss", {"n_bins": 99}), ("RankedListLoss", {"margin": 0.4, "Tn": 6}), ("SphereFaceLoss", {"scale": 2})],
)
def test_the_library_s_warnings_are_kept_back(name, arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        library_loss_is_angular(f"pml.{name}", arguments)  # not remembered from another test
        build_library_loss(f"pml.{name}", arguments, 8, 4)
        assert warnings.filters == filters
    assert not caught


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
    assert angular >= {
        "AngularLoss",
        "ArcFaceLoss",
        "CircleLoss",
        "FastAPLoss",
        "P2SGradLoss",
        "ProxyNCALoss",
        "SupConLoss",
    }
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
