"""The plan and the result as printed, at the width of a terminal and of a log."""

import ast
import dataclasses
import io
import os
import shlex
import sys
from pathlib import Path

import pytest
from rich.console import Console

from mdr_tune.cli.launch import make_parser as make_launch_parser
from mdr_tune.cli.launch import make_plan as make_launch_plan
from mdr_tune.cli.output import moved_alias, print_plan, print_result, print_where_next, ui_lines
from mdr_tune.cluster.machine import Machine
from mdr_tune.config.sweep_reading import read_sweep
from mdr_tune.records.trial_record import Outcome, SweepResult, TrialRecord
from mdr_tune.sweep.lane_layout import fit_lanes
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.recording import LaunchOutcome
from mdr_tune.sweep.stores import Stores
from mdr_tune.tracking.champion import Registration

METRIC = "val/recall_at_1"
SEARCH = Path(__file__).parents[1] / "config" / "mdr_levels.yaml"
LONG = "/home/somebody/projects/[retrieval] with levels/and/a/path/longer/than/a/line/of/a/terminal/runs"
WIDTHS = pytest.mark.parametrize("width", [80, 200])


def make_plan(storage: str = "/data/runs", tracking_uri: str = "", gpus: int = 0, notes: tuple[str, ...] = ()) -> Plan:
    sweep, _ = read_sweep(SEARCH, [])
    machine = Machine(4, gpus, "this machine")
    stores = Stores(Path(storage), tracking_uri or f"sqlite:///{storage}/mlflow.db")
    return Plan(sweep, Path(storage) / "x.yaml", "", notes, stores, machine, fit_lanes(sweep, machine), None)


def record(name: str, recalls: list[float], outcome: Outcome = "completed", **parameters: float) -> TrialRecord:
    history = [{"epoch": float(epoch), METRIC: recall} for epoch, recall in enumerate(recalls, 1)]
    return TrialRecord(name, name.rsplit("-", 1)[0], 0, parameters, {}, history=history, outcome=outcome)


def outcome_of(version: str | None = "3", interrupted: bool = False) -> LaunchOutcome:
    levels = {"mdr.levels.count": 3, "mdr.levels.spread": 2.4, "mdr.weight": 0.13, "loss.margin": 0.2}
    mdr, other = record("mdr-001", [50.0, 62.5], **levels), record("mdr-002", [40.0], "stopped_early")
    triplet = record("triplet-001", [60.25])
    if interrupted:
        return LaunchOutcome(SweepResult(METRIC, [mdr], interrupted=True), "7", "parent", None)
    test = {"mdr": {"test/recall_at_1": 57.5}, "triplet": {"test/recall_at_1": 58.0}}
    result = SweepResult(METRIC, [mdr, other, triplet], {"mdr": mdr, "triplet": triplet}, test)
    return LaunchOutcome(result, "7", "parent", Registration(version) if version else None)


def printed_plan(width: int, plan: Plan) -> list[str]:
    output = io.StringIO()
    print_plan(Console(file=output, width=width, highlight=False), plan)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def printed_result(width: int, plan: Plan, outcome: LaunchOutcome) -> list[str]:
    output = io.StringIO()
    console = Console(file=output, width=width, highlight=False)
    print_result(console, plan, outcome.result, outcome.report)
    print_where_next(console, plan, outcome)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_the_plan_says_all_that_will_be_done() -> None:
    assert printed_plan(200, make_plan(notes=("loss.margin is fixed by --set",))) == [
        "mdr_levels: /data/runs/x.yaml",
        "  trial   data               glyphs, 32 x 32 pixels in 1 channel",
        "          augmentation       affine",
        "          backbone           conv4, weights random",
        "          embedding          size 128, mode rescale",
        "          loss               triplet, margin searched",
        "          miner              distance_weighted",
        "          mdr                weight searched, levels searched, learn_levels true",
        "          batch              size 128, images_per_class 4",
        "          optimizer          adam, learning_rate 0.003",
        "          training           epochs 8, iterations_per_epoch 10, batch_norm synced",
        "  space   mdr.levels.count   one of 2, 3, 5",
        "  space   mdr.levels.spread  1 to 5",
        "  space   mdr.weight         0.01 to 1, log scale",
        "  space   loss.margin        0.05 to 0.5",
        "  search  tpe                maximise val/recall_at_1, up to 8 epochs, ASHA after epoch 2, 1 of 2 goes on",
        "  arm     mdr                8 trials",
        "  arm     triplet            8 trials",
        "  arm     triplet_l2         8 trials",
        "  cost    epochs             about 108, at most 192",
        "          time               told after the first steps: no earlier launch with this data, backbone, "
        "batch and workers",
        "  lanes   1                  4 workers each, 1 CPU a worker",
        "  found   this machine       4 CPUs, 0 GPUs",
        "  stores  MLflow             sqlite:////data/runs/mlflow.db",
        "          storage            /data/runs/sweeps/mdr_levels",
        "  note: loss.margin is fixed by --set",
    ]


def test_gpus_are_named_where_there_are_some() -> None:
    lines = printed_plan(200, make_plan(gpus=4))
    assert "  lanes   1                  4 workers each, 1 CPU, 1 GPU a worker" in lines
    assert "  found   this machine       4 CPUs, 4 GPUs" in lines
    plan = make_plan(gpus=4)
    shared = dataclasses.replace(plan, lanes=dataclasses.replace(plan.lanes, workers_per_lane=1, gpus_per_worker=0.5))
    assert "  lanes   1                  1 worker each, 1 CPU, 0.5 GPU a worker" in printed_plan(200, shared)


@WIDTHS
def test_nothing_of_a_plan_is_cut_off_or_taken_for_markup(width: int) -> None:
    lines = printed_plan(width, make_plan(LONG, notes=("[bold]x[/bold] is fixed by --set and no longer searched",)))
    assert lines[0] == f"mdr_levels: {LONG}/x.yaml"
    assert lines[-1] == "  note: [bold]x[/bold] is fixed by --set and no longer searched"
    assert all(len(line) <= width for line in lines[1:-1])
    joined = "".join(line.strip() for line in lines).replace(" ", "")  # as if the lines had not been broken
    assert f"sqlite:///{LONG}/mlflow.db".replace(" ", "") in joined
    assert f"{LONG}/sweeps/mdr_levels".replace(" ", "") in joined


@WIDTHS
def test_the_trials_are_a_table(width: int) -> None:
    lines = printed_result(width, make_plan(), outcome_of())
    table = lines[1 : lines.index("", 1)]
    assert table[0].split("  ")[0].strip() == "trial"
    assert "val Recall@1  test Recall@1" in table[0]
    rows = [line.split() for line in table[1:] if "-00" in line]
    assert [row[0] for row in rows] == ["mdr-001", "mdr-002", "triplet-001"]
    assert rows[0][1:5] == ["completed", "2", "62.50", "57.50"]
    assert rows[1] == ["mdr-002", "stopped", "early", "1", "40.00"]
    assert rows[2] == ["triplet-001", "completed", "1", "60.25", "58.00"]
    assert "levels 3 over ±2.40, weight 0.13, margin 0.2" in " ".join(line[60:].strip() for line in table[1:])
    assert all(len(line) <= width for line in table)


@WIDTHS
def test_sentences_and_commands_are_whole_lines(width: int) -> None:
    plan = make_plan(LONG)
    lines = printed_result(width, plan, outcome_of())
    browse = next(i for i, line in enumerate(lines) if line.startswith("Browse the trials"))
    assert lines[browse + 1 : browse + 3] == [f"  {line}" for line in ui_lines(plan.stores, "7", "parent")]
    assert lines[-4:] == [
        "Load the winner (mdr_levels version 3, alias champion):",
        "  import mlflow",
        f'  mlflow.set_tracking_uri("sqlite:///{LONG}/mlflow.db")',
        '  model = mlflow.pytorch.load_model("models:/mdr_levels@champion")  # model(uint8 images (n, C, H, W))',
    ]
    assert (
        "Best on validation: mdr-001 (levels 3 over ±2.40, weight 0.13, margin 0.2): Recall@1 62.50 at epoch 2, "
        "test Recall@1 57.50."
    ) in lines
    assert "MDR over triplet: +2.25 points of Recall@1 on validation, -0.50 on test." in lines


def test_the_command_that_answers_with_seeds_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment_put_back: None
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    given = ("trial.epochs=3", "search.trials=4")
    plan = dataclasses.replace(make_plan(str(tmp_path / "my runs")), file=SEARCH, overrides=given)
    outcome = outcome_of()
    outcome.result.best["mdr"].config |= {"mdr": {"weight": 0.13}}
    lines = printed_result(200, plan, outcome)
    at = lines.index("Is it real? The best MDR trial and its baselines with 8 seeds each, paired by seed:")
    words = shlex.split(lines[at + 1])
    assert words[:2] == ["python", "launch.py"]
    again = make_launch_plan(make_launch_parser().parse_args([*words[2:], "--dry-run"]))
    assert [(arm.name, arm.trials) for arm in again.arms] == [("mdr", 1), ("triplet", 1), ("triplet_l2", 1)]
    assert again.sweep.training_seeds == list(range(8))
    trial = again.sweep.trial
    assert trial.mdr is not None
    assert (trial.mdr.initial_levels(), trial.mdr.weight, trial.epochs) == ([-2.4, 0.0, 2.4], 0.13, 3)


@pytest.mark.parametrize("storage", [LONG, '/data/of "all" kinds\\of'])
def test_the_printed_lines_load_the_champion_when_pasted(storage: str) -> None:
    lines = printed_result(80, make_plan(storage), outcome_of())[-3:]
    compile("\n".join(line.strip() for line in lines), "pasted", "exec")
    assert ast.literal_eval(lines[1].partition("set_tracking_uri")[2]) == f"sqlite:///{storage}/mlflow.db"


def test_a_registry_elsewhere_is_named_wherever_the_champion_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://me:secret@models:5000")
    plan = make_plan()
    assert "          registry           http://me:***@models:5000 (MLFLOW_REGISTRY_URI)" in printed_plan(200, plan)
    lines = printed_result(200, plan, outcome_of())
    assert "Load the winner (mdr_levels version 3, alias champion, in http://me:***@models:5000):" in lines
    assert '  mlflow.set_registry_uri("http://me:***@models:5000")' in lines
    assert shlex.split(ui_lines(plan.stores, "1", "0123456789")[0])[-2:] == [
        "--registry-store-uri",
        "http://me:***@models:5000",
    ]


def test_the_command_for_the_ui_survives_the_shell() -> None:
    words = shlex.split(ui_lines(make_plan(LONG).stores, "1", "0123456789")[0])
    assert words[1:] == [
        *("ui", "--host", "127.0.0.1", "--port", "5000"),
        *("--backend-store-uri", f"sqlite:///{LONG}/mlflow.db"),
    ]
    assert Path(words[0]).absolute() == Path(sys.executable).parent / "mlflow"
    assert os.access(words[0], os.X_OK)


def test_with_a_server_its_address_is_the_ui() -> None:
    lines = ui_lines(make_plan(tracking_uri="http://tracking:5000").stores, "3", "0123456789")
    assert lines == [
        "http://tracking:5000/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=01234567"
    ]


def test_without_a_champion_there_is_nothing_to_load() -> None:
    lines = printed_result(80, make_plan(), outcome_of(version=None))
    assert not any("load_model" in line or "champion" in line for line in lines)
    assert any(line.startswith("Best on validation: mdr-001") for line in lines)


def test_an_interrupted_sweep_shows_what_there_is() -> None:
    lines = printed_result(200, make_plan(), outcome_of(interrupted=True))
    assert any(line.startswith("Interrupted: this session chose no winner") for line in lines)
    assert any(line.split()[:5] == ["mdr-001", "completed", "2", "62.50", "levels"] for line in lines)
    assert not any("Best on" in line or "champion" in line for line in lines)


def test_an_alias_that_moves_to_a_worse_model_is_told() -> None:
    outcome = outcome_of()
    winner = outcome.result.winner
    assert winner is not None
    best = winner.best(METRIC)
    assert best is not None
    assert moved_alias("2", best[0] + 1, outcome).endswith("That one was better: mind which sweep's champion you load.")
    assert (
        moved_alias("2", best[0] - 1, outcome)
        == f"The alias champion was at version 2 ({best[0] - 1:.2f} on validation) before."
    )
    assert moved_alias("2", None, outcome) == "The alias champion was at version 2 before."
