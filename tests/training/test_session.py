"""A trial on one rank: what it reports, that it repeats itself, and that it goes on from a checkpoint."""

import copy
import io
from typing import Any

import pytest
import torch

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset
from mdr_tune.training import TrialDiverged, TrialSession
from mdr_tune.training.evaluate import EVALUATION_BATCH

TRIAL: dict[str, Any] = {
    "batch": {"size": 16, "images_per_class": 4},
    "embedding": {"size": 8},
    "optimizer": {"learning_rate": 1e-3, "schedule": {"milestones": [2]}},
    "epochs": 4,
    "iterations_per_epoch": 3,
}


def new_session(**changes: Any) -> TrialSession:
    return TrialSession(TrialConfig.model_validate({**TRIAL, **changes}), load_dataset(GlyphsDataConfig()))


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def assert_same_bits(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_an_epoch_reports_losses_levels_quality_and_time() -> None:
    metrics = new_session().run_epoch()
    assert set(metrics) == {
        "epoch",
        *("train/loss", "train/dml_loss", "train/mdr_loss", "train/miner_fallback", "train/learning_rate"),
        *("train/distance_mean", "train/distance_std", "memory/peak_gib"),
        *("mdr/weight", "mdr/level_0", "mdr/level_1", "mdr/level_2", "mdr/mean", "mdr/std"),
        *("mdr/held_0", "mdr/held_1", "mdr/held_2"),
        *("val/recall_at_1", "val/recall_at_2", "val/recall_at_4", "val/recall_at_8"),
        *("val/map_at_r", "val/r_precision", "time/epoch_s", "time/images_per_s"),
    }
    decay = 0.01 * sum(metrics[f"mdr/level_{i}"] ** 2 for i in range(3))
    assert metrics["train/loss"] == pytest.approx(
        metrics["train/dml_loss"] + 0.1 * metrics["train/mdr_loss"] + decay, abs=2e-3
    )
    assert 0 < metrics["val/recall_at_1"] <= metrics["val/recall_at_8"] <= 100


def test_without_mdr_there_is_nothing_of_it() -> None:
    metrics = new_session(mdr=None).train_epoch()
    assert not any("mdr" in key for key in metrics)
    assert metrics["train/loss"] == metrics["train/dml_loss"]


def test_the_same_trial_gives_the_same_bits_whatever_ran_before() -> None:
    first = new_session()
    expected = [first.train_epoch() for _ in range(2)]
    new_session(seed=7, embedding={"size": 4}).train_epoch()  # another trial in between, and a used global generator
    torch.rand(3)
    again = new_session()
    assert [again.train_epoch() for _ in range(2)] == expected
    assert_same_bits(again.model.state_dict(), first.model.state_dict())


def test_the_seed_matters() -> None:
    assert new_session().train_epoch() != new_session(seed=1).train_epoch()


def test_a_resumed_trial_gives_the_bits_of_an_undisturbed_one() -> None:
    undisturbed = new_session()
    for _ in range(2):
        undisturbed.train_epoch()
    state = through_a_file(copy.deepcopy(undisturbed.state_dict()))
    expected = [undisturbed.train_epoch() for _ in range(2)]

    resumed = new_session()
    resumed.load_state_dict(state)
    assert resumed.epoch == 2
    assert [resumed.train_epoch() for _ in range(2)] == expected
    rates = [epoch["train/learning_rate"] for epoch in expected]
    assert rates == pytest.approx([2e-4, 2e-4])  # epochs 3 and 4 of milestone 2: the schedule went on as well
    one, other = resumed.state_dict()["optimizer"], undisturbed.state_dict()["optimizer"]
    assert one["param_groups"] == other["param_groups"]
    assert_same_bits(one["state"], other["state"])
    assert_same_bits(resumed.state_dict()["objective"], undisturbed.state_dict()["objective"])
    assert_same_bits(resumed.model.state_dict(), undisturbed.model.state_dict())


def test_a_state_that_is_taken_over_goes_on_with_the_new_settings() -> None:
    """Population based training: another trial's weights and moments, this trial's rate, decay and weight of MDR."""
    donor = new_session(memory={"start_epoch": 0.0})
    donor.train_epoch()
    new = {"name": "adam", "learning_rate": 5e-3, "weight_decay": 1e-2}
    taker = new_session(optimizer=new, mdr={"weight": 0.7}, memory={"start_epoch": 0.0})
    taker.load_state_dict(through_a_file(copy.deepcopy(donor.state_dict())))
    assert_same_bits(taker.state_dict()["optimizer"]["state"], donor.state_dict()["optimizer"]["state"])
    assert_same_bits(taker.state_dict()["objective"], donor.state_dict()["objective"])  # the memory, too
    metrics = taker.train_epoch()
    assert metrics["train/learning_rate"] == pytest.approx(5e-3)
    assert metrics["mdr/weight"] == pytest.approx(0.7)
    assert {group["weight_decay"] for group in taker.state_dict()["optimizer"]["param_groups"]} == {1e-2}


def test_a_checkpoint_of_another_version_or_model_is_refused() -> None:
    session = new_session()
    state = session.state_dict()
    with pytest.raises(ValueError, match="version 99"):
        session.load_state_dict({**state, "version": 99})
    with pytest.raises(RuntimeError, match="size mismatch"):
        new_session(embedding={"size": 4}).load_state_dict(state)


def test_a_trial_whose_numbers_blow_up_has_diverged() -> None:
    session = new_session(optimizer={"learning_rate": 1e30})
    with pytest.raises(TrialDiverged, match=r"not finite in epoch 1, step [23]"):
        session.train_epoch()


def test_a_trial_whose_numbers_blow_up_in_its_last_step_has_diverged_too() -> None:
    """The losses were finite; what is ranked after the step is not."""
    session = new_session(optimizer={"learning_rate": 1e30}, iterations_per_epoch=1)
    with pytest.raises(TrialDiverged, match="an embedding is not finite after epoch 1, or too large"):
        session.run_epoch()


def test_a_trial_whose_embeddings_are_all_one_has_diverged() -> None:
    session = new_session(mdr=None, embedding={"size": 8, "mode": "none"}, optimizer={"learning_rate": 1e-12})
    with torch.no_grad():
        session.model.linear.weight.zero_()
    with pytest.raises(TrialDiverged, match="the embeddings collapsed in epoch 1: their distances are "):
        session.train_epoch()


def test_the_distances_are_those_of_the_last_batch_as_retrieval_sees_it() -> None:
    session = new_session(iterations_per_epoch=1, embedding={"size": 8, "mode": "l2"})
    session.model.train()
    batch = next(session._input.epoch(0, session._sampler.epoch_batches(0, 1)))
    with torch.no_grad():
        embeddings = torch.nn.functional.normalize(new_session(embedding={"size": 8}).model.train()(batch.images))
    distances = torch.nn.functional.pdist(embeddings.double())
    metrics = session.train_epoch()
    assert metrics["train/distance_mean"] == pytest.approx(float(distances.mean()), rel=1e-5)
    assert metrics["train/distance_std"] == pytest.approx(float(distances.std(correction=0)), rel=1e-5)


def test_progress_counts_steps_and_evaluated_batches() -> None:
    session = new_session()
    session.train_epoch()
    assert session.progress == 3
    session.evaluate("validation")
    images = len(session.dataset.split("validation"))
    assert session.progress == 3 + -(-images // EVALUATION_BATCH)
    assert session.device_name == "cpu"


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    session = new_session(batch_norm="frozen")
    session.train_epoch()
    for name, buffer in session.model.named_buffers():
        if name.endswith("running_mean"):
            assert not buffer.any()


def test_evaluation_leaves_the_training_untouched() -> None:
    session, other = new_session(), new_session()
    session.evaluate("validation")
    assert session.train_epoch() == other.train_epoch()
