"""Which rows are compared: in grids of several makes."""

from pathlib import Path
from typing import Any

import pytest

from mdr_tune.config.arms import arms
from mdr_tune.config.space import draw, grid_points, parameter_tree, resolve
from mdr_tune.config.sweep_reading import read_sweep
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.recorded_sweep import RecordedTrial
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.report.row_differences import baseline_pairs
from mdr_tune.report.row_settings import has_mdr, method_of, settings_of
from mdr_tune.report.rows import Row
from tests.report.make_evidence import nested

SPACES = Path(__file__).parents[2] / "search_spaces"


def configuration(**values: Any) -> Row:
    record = TrialRecord("t-001", "t", 0, {}, nested(TrialConfig.model_validate(values)), outcome="completed")
    trial = RecordedTrial(record, "0", {})
    return Row([trial], "", [trial])


def pairs(*configurations: Row, is_grid: bool = True) -> list[tuple[int, int]]:
    return [(pair.row, pair.baseline) for pair in baseline_pairs(list(configurations), is_grid)]


def test_rows_that_vary_mdr_share_one_baseline() -> None:
    levels = [[-3.0, 0.0, 3.0], [-2.0, 2.0], [0.0]]
    rows = [configuration(mdr={"levels": chosen, "weight": 0.1}) for chosen in levels]
    assert pairs(*rows, configuration(mdr=None)) == [(0, 3), (1, 3), (2, 3)]


def test_the_own_embedding_mode_comes_first() -> None:
    l2, rescale = configuration(mdr=None, embedding={"mode": "l2"}), configuration(mdr=None)
    assert pairs(l2, rescale, configuration()) == [(2, 1), (2, 0)]
    assert pairs(l2, rescale, configuration(embedding={"mode": "l2"})) == [(2, 0), (2, 1)]


def test_each_loss_and_each_backbone_has_its_own_baseline() -> None:
    losses = [{"name": "triplet"}, {"name": "contrastive"}]
    without = [configuration(loss=loss, mdr=None) for loss in losses]
    assert pairs(*without, *[configuration(loss=loss) for loss in losses]) == [(2, 0), (3, 1)]
    backbones = ["conv4", {"name": "resnet18", "weights": "none"}]
    without = [configuration(backbone=backbone, mdr=None) for backbone in backbones]
    assert pairs(*without, *[configuration(backbone=backbone) for backbone in backbones]) == [(2, 0), (3, 1)]


def test_another_margin_is_no_baseline_in_a_grid_but_in_a_search() -> None:
    tuned = configuration(loss={"name": "triplet", "margin": 0.1}), configuration(mdr=None)
    assert pairs(*tuned) == []
    assert pairs(*tuned, is_grid=False) == [(0, 1)]


def test_a_baseline_that_is_there_twice_counts_once() -> None:
    assert pairs(configuration(), configuration(mdr=None), configuration(mdr=None)) == [(0, 1)]


def rows_of(file: Path) -> list[Row]:
    """Return the rows that a sweep file will have, as they will be recorded."""
    sweep, _ = read_sweep(file, [])
    rows = []
    for arm in arms(sweep):
        tree = parameter_tree(arm.space)
        for number, point in enumerate(grid_points(arm.space)):
            parameters = draw(tree, lambda parameter: point[parameter.name])  # noqa: B023 - called at once
            trial = resolve(arm.trial, arm.space, parameters)
            record = TrialRecord(f"{arm.name}-{number + 1:03d}", arm.name, number, parameters, nested(trial))
            rows.append(Row([RecordedTrial(record, "0", {})], ""))
    return rows


@pytest.mark.parametrize("file", sorted(SPACES.glob("ablation_*.yaml")), ids=lambda file: file.stem)
def test_in_every_ablation_of_the_package_each_row_with_mdr_has_a_baseline(file: Path) -> None:
    rows = rows_of(file)
    with_mdr = [place for place, row in enumerate(rows) if has_mdr(row.first.config)]
    assert sorted({pair.row for pair in baseline_pairs(rows, is_grid=True)}) == with_mdr
    settings = settings_of([row.first.config for row in rows], [row.parameters for row in rows])
    titles = [(method_of(row.first.config), setting) for row, setting in zip(rows, settings, strict=True)]
    assert len(set(titles)) == len(rows)
