"""A trial on the pretended GPU: where it diverges, and that it goes on where a CPU left it."""

import copy
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from mdr_tune.config.trial import TrialConfig
from mdr_tune.training import Ranks, TrialDiverged, TrialSession
from tests.pretended_gpu import pretended_gpu
from tests.training.gpu_trials import BASE, small_glyphs


def new_session(device: torch.device | str = "cpu", **changes: Any) -> TrialSession:
    config = TrialConfig.model_validate({**BASE, **changes})
    return TrialSession(config, small_glyphs(), Ranks(device=torch.device(device)))


def seen_until_it_diverges(session: TrialSession) -> tuple[str, list[torch.Tensor]]:
    """Return the sentence with which a trial ends, and the embeddings that its losses saw."""
    seen: list[torch.Tensor] = []
    session.objective.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().cpu()))

    def train() -> None:
        for _ in range(session.config.epochs):
            session.train_epoch()

    with pytest.raises(TrialDiverged) as raised:
        train()
    return str(raised.value), seen


def overflow_in_step(session: TrialSession, step: int) -> None:
    """Make the loss of a step, from 1 over all epochs, infinite."""
    steps = []

    def change(_module: Any, _inputs: Any, terms: Any) -> Any:
        steps.append(1)
        return terms._replace(total=terms.total * torch.inf) if len(steps) == step else terms

    session.objective.register_forward_hook(change)


@pytest.mark.parametrize("chunk_size", [None, 5])
def test_a_trial_on_a_gpu_diverges_with_the_sentence_of_the_cpu(chunk_size: int | None) -> None:
    batch = {**BASE["batch"], "chunk_size": chunk_size}
    trial = {"optimizer": {"learning_rate": 1e30}, "batch_norm": "frozen", "batch": batch}
    sentence, _ = seen_until_it_diverges(new_session(**trial))
    assert "an embedding is not finite in epoch 1, step 2" in sentence
    with pretended_gpu() as gpu:
        on_gpu, seen = seen_until_it_diverges(new_session(gpu.device, **trial))
    assert on_gpu == sentence
    assert len(seen) == BASE["iterations_per_epoch"]
    assert all(embeddings.isfinite().all() for embeddings in seen)  # no loss makes an index of NaN


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_loss_that_is_not_finite_is_told_at_its_step(step: int) -> None:
    session = new_session()
    overflow_in_step(session, step)
    sentence, _ = seen_until_it_diverges(session)
    assert sentence == f"the loss is not finite in epoch {1 + (step > 3)}, step {(step - 1) % 3 + 1}"
    with pretended_gpu() as gpu:
        session = new_session(gpu.device)
        overflow_in_step(session, step)
        assert seen_until_it_diverges(session)[0] == sentence


@pytest.mark.parametrize("loss", ["triplet", {"name": "pml.TripletMarginLoss", "triplets_per_anchor": 2}])
def test_a_trial_of_a_cpu_goes_on_on_a_gpu_with_the_same_draws(loss: Any) -> None:
    on_cpu = new_session(loss=loss)
    on_cpu.train_epoch()
    state = copy.deepcopy(on_cpu.state_dict())
    expected = on_cpu.train_epoch()
    with pretended_gpu() as gpu:
        on_gpu = new_session(gpu.device, loss=loss)
        on_gpu.load_state_dict(state)
        assert on_gpu.train_epoch() == pytest.approx(expected, rel=1e-4, abs=1e-4)
        generator = on_gpu.state_dict()["miner_generator"]
    assert torch.equal(generator, on_cpu.state_dict()["miner_generator"])


def test_steps_that_overflowed_are_counted_on_a_gpu() -> None:
    with pretended_gpu() as gpu:
        session = new_session(gpu.device, precision="fp16")
        session._scaler = torch.amp.GradScaler("cuda", init_scale=2.0**40)  # overflows
        assert session.train_epoch()["train/skipped_steps"] == 3
        session._scaler.update(2.0**10)
        assert session.train_epoch()["train/skipped_steps"] == 0


def test_a_checkpoint_of_a_gpu_is_of_the_cpu_and_goes_on_there() -> None:
    with pretended_gpu() as gpu:
        on_gpu = new_session(gpu.device)
        on_gpu.train_epoch()
        state = copy.deepcopy(on_gpu.state_dict())
        expected = on_gpu.train_epoch()
    tensors = [leaf for leaf in tree_leaves(state) if isinstance(leaf, torch.Tensor)]
    assert len(tensors) > 20
    assert {(type(tensor), tensor.device.type) for tensor in tensors} == {(torch.Tensor, "cpu")}
    on_cpu = new_session()
    on_cpu.load_state_dict(state)
    assert on_cpu.train_epoch() == pytest.approx(expected, rel=1e-4, abs=1e-4)
