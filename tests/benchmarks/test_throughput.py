"""benchmarks/training_throughput.py on tiny images, without the authors' code, which no test has."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from throughput.idle import busy_seconds, covered
from throughput.plain import PlainSide
from throughput.sides import OurSide, Setting
from throughput.tables import BARE, Measured, print_table, rows
from training_throughput import main, measure

from tests.pretended_gpu import pretended_gpu

CPU = torch.device("cpu")
TINY = Setting("resnet18", "fp32", CPU, batch_size=8, image_size=32, embedding_size=16)
VIT = dataclasses.replace(TINY, backbone="timm.vit_tiny_patch16_224")
HEAD = Setting("features", "fp32", CPU, batch_size=8, embedding_size=16)


def test_both_sides_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    results = [measure(setting, rounds=3, iterations=2) for setting in (TINY, HEAD)]
    for measured in results:
        assert measured.iterations == 6
        assert list(measured.speeds) == [sorted(rounds)[1] for rounds in measured.rounds]
        assert min(measured.rounds[0] + measured.rounds[1]) > 0
        assert measured.peaks == (None, None)
        assert measured.idle is not None
        assert all(0 <= share < 100 for share in measured.idle)
    print_table(Console(width=150), results)
    printed = capsys.readouterr().out
    assert f"{results[0].speeds[0]:.1f}" in printed
    assert "rounds of features fp32, the method written plainly" in printed
    assert [row.what for row in rows(results)] == [
        "training resnet18 fp32, 32 px, batch 8",
        "training resnet18 fp32, 32 px, batch 8: share of a step in which the device idles",
        "training the head alone, fp32, batch 8",
        "training the head alone, fp32, batch 8: share of a step in which the device idles",
    ]


def test_steps_of_the_head_are_counted_and_memory_where_it_is_measured() -> None:
    rounds = [80.0, 160.0, 160.0], [40.0, 40.0, 20.0]
    measured = Measured(HEAD, "another", 6, rounds, (1.0, 2.0), (0.04, 0.05), (0.0, 0.0), (0.0, 0.0))
    assert measured.idle == pytest.approx((20.0, 75.0))
    assert dataclasses.replace(measured, busy_s=(None, 0.05)).idle is None
    speed, idle, peak = rows([measured])
    assert (speed.unit, speed.ours, speed.theirs, speed.ratio) == ("steps/s", 20.0, 5.0, 4.0)
    assert idle.ratio == pytest.approx(3.75)
    assert (peak.unit, peak.ratio) == ("GiB", 2.0)


@pytest.mark.parametrize("setting", [TINY, HEAD], ids=lambda setting: setting.backbone)
def test_both_sides_train_alike(setting: Setting) -> None:
    ours, plain = OurSide(setting, iterations=1), PlainSide(setting, iterations=1)
    ours.start_as(plain.net.state_dict())
    images = ours.session.dataset.split("train").images[torch.arange(8)]
    ours.session.model.eval()
    plain.net.eval()
    torch.testing.assert_close(ours.session.model(images), plain.net(images), rtol=1e-3, atol=1e-4)
    # The first step's triplets are drawn at random, by each side its own: of embeddings at random they lose much alike.
    assert ours.run_round() == pytest.approx(plain.run_round(), abs=0.2)


@pytest.mark.parametrize("setting", [VIT, HEAD], ids=lambda setting: setting.backbone)
def test_a_bare_step_computes_the_same_losses(setting: Setting) -> None:
    measured = measure(setting, rounds=1, iterations=2, same_losses=True)
    ours, bare = measured.first_losses
    assert ours == pytest.approx(bare, rel=1e-4)
    (row,) = rows([measured])
    assert (row.against, row.aim) == (BARE, 0.77 if setting is HEAD else 0.91)


@pytest.mark.parametrize("setting", [TINY, HEAD], ids=lambda setting: setting.backbone)
def test_no_side_mixes_devices(setting: Setting) -> None:
    with pretended_gpu() as gpu:
        on_gpu = dataclasses.replace(setting, device=gpu.device)
        ours, plain = OurSide(on_gpu, iterations=2), PlainSide(on_gpu, iterations=2)
        ours.start_as(plain.net.state_dict())
        losses, waits = [], []
        for side in (ours, plain):
            gpu.forget()
            losses.append(side.run_round())
            waits.append(gpu.syncs["nonzero"])
    assert all(0 < loss < 1 for loss in losses)
    assert waits == [0, 2]  # the plain miner looks for its pairs in each step


def test_what_overlaps_is_counted_once() -> None:
    assert covered([(5, 9), (0, 2), (1, 3), (6, 7), (9, 10)]) == 3 + 5
    assert covered([]) == 0
    assert busy_seconds(lambda: None, CPU) is None
    matrix = torch.ones(500, 500)
    busy = busy_seconds(lambda: matrix @ matrix, CPU)
    assert busy is not None
    assert busy > 0


def test_a_session_starts_with_frozen_statistics_of_a_batch() -> None:
    side = OurSide(TINY, iterations=1)
    statistics = side.session.model.backbone.network.bn1.running_var.clone()
    side.run_round()
    assert torch.equal(side.session.model.backbone.network.bn1.running_var, statistics)
    assert not torch.equal(statistics, torch.ones(64))


def test_other_losses_of_a_bare_step_fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("throughput.bare.DistanceWeightedMiner", lambda: lambda *_: None)  # all triplets
    assert main(["--same-losses", "--backbones", "features", "--precisions", "fp32"]) == 1
    assert "the first round's losses differ" in capsys.readouterr().out
    assert main(["--same-losses", "--backbones", "resnet18"]) == 2


def test_a_folder_without_the_authors_code_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--authors", str(tmp_path)]) == 2
    assert "no checkout of AAAI2021_MDR" in capsys.readouterr().err
