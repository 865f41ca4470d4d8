"""From the YAML to a checked sweep: what is right is read, what is wrong is named with its place and the fix."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mdr_tune.config.overrides import override
from mdr_tune.config.space import resolve
from mdr_tune.config.strict_model import set_dotted
from mdr_tune.config.sweep_file import read_tree
from mdr_tune.config.sweep_reading import read_sweep
from mdr_tune.util.errors import UserError

SPACES = Path(__file__).parents[2] / "search_spaces"
SEARCH = Path(__file__).with_name("mdr_levels.yaml")
MAIN = SEARCH.read_text()
SMALL = """
name: small
trial: {batch: {size: 16}, mdr: {momentum: 0.9}, optimizer: {name: adam}}
search: {trials: 2}
space: {loss.margin: {uniform: [0.1, 0.4]}}
"""


def problem(tmp_path: Path, text: str, *overrides: str) -> str:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_sweep(file, list(overrides))
    return str(caught.value).replace(str(tmp_path) + "/", "")


@pytest.mark.parametrize("file", sorted(SPACES.glob("*.yaml")), ids=lambda file: file.name)
def test_every_file_that_ships_is_valid(file: Path) -> None:
    sweep, notes = read_sweep(file, [])
    assert sweep.name == file.stem
    assert [note for note in notes if "the file sets no size of images" not in note] == []


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("margin: 0.2}", "margn: 0.2}", "trial.loss.margn", "unknown key. Did you mean 'margin'?"),
        ("epochs: 8\n", "epochs: '8'\n", "trial.epochs", "expected a whole number, got '8' (text)"),
        ("epochs: 8\n", "epochs: 8.5\n", "trial.epochs", "expected a whole number, got 8.5"),
        ("epochs: 8\n", "epochs: 0\n", "trial.epochs", "must be greater than or equal to 1, got 0"),
        ("epochs: 8\n", "epochs: yes\n", "trial.epochs", "expected a whole number, got 'yes' (text)"),
        ("weight: 0.1, levels", "weight: .nan, levels", "trial.mdr.weight", "finite number"),
        ("levels: [-3, 0, 3]}", "levels: [a]}", "trial.mdr.levels.0", "expected a number, got 'a' (text)"),
        ("levels: [-3, 0, 3]}", "levels: {count: 3, spred: 2}}", "trial.mdr.levels.spred", "Did you mean 'spread'?"),
        ("{name: triplet, margin: 0.2}", "3", "trial.loss", "expected a name, or a mapping with a name, got 3"),
        (
            "name: triplet,",
            "name: tripled,",
            "trial.loss.name",
            "unknown loss 'tripled'. Did you mean 'triplet'? Known:",
        ),
        (
            "backbone: conv4",
            "backbone: conv5",
            "trial.backbone.name",
            "unknown backbone 'conv5'. Did you mean 'conv4'?",
        ),
        ("name: glyphs", "name: cub201", "trial.data.name", "Did you mean 'cub200'? Known: glyphs, cub200, cars196"),
        ("mode: rescale", "mode: rescal", "trial.embedding.mode", "'rescale', 'l2' or 'none'"),
        ("batch: {size: 128", "batch: {size: 6", "trial.batch", "raise size to 8 or lower images_per_class"),
        ("{uniform: [0.05, 0.5]}", "{uniform: [0.5, 0.05]}", "space.loss.margin", "is reversed"),
        ("{uniform: [0.05, 0.5]}", "{uniform: [0.5, 0.5]}", "space.loss.margin", "is empty"),
        (
            "{uniform: [0.05, 0.5]}",
            "{uniform: [-0.5, 0.5]}",
            "space.loss.margin",
            "greater than or equal to 0, got -0.5",
        ),
        ("{uniform: [0.05, 0.5]}", "{choice: [0.1, high]}", "space.loss.margin", "expected a number, got 'high'"),
        ("{uniform: [0.05, 0.5]}", "{choice: []}", "space.loss.margin.choice", "must have at least 1 value, got []"),
        ("{uniform: [0.05, 0.5]}", "{}", "space.loss.margin", "give exactly one of uniform"),
        ("{loguniform: [0.01, 1]}", "{loguniform: [0, 1]}", "space.mdr.weight", "must start above 0"),
        ("loss.margin: {uni", "los.margin: {uni", "space.los.margin", "Did you mean loss.margin?"),
        ("{uniform: [1, 5]}", "{unifrm: [1, 5]}", "space.mdr.levels.spread.unifrm", "Did you mean 'uniform'?"),
        ("count: [2, 3, 5]", "count: [0, 3, 5]", "space.mdr.levels.count", "greater than or equal to 1, got 0"),
        ("sampler: tpe", "sampler: tpee", "search.sampler", "expected 'tpe', 'gp', 'random', 'qmc', 'cmaes' or"),
        ("grace_epochs: 2", "grace_epochs: 20", "search.scheduler.grace_epochs", "20 is more than trial.epochs (8)"),
        ("lanes: auto", "lanes: many", "resources.lanes", "expected auto or a whole number, got 'many'"),
        ("[triplet, triplet_l2]", "[triplet, l3]", "baselines.1", "unknown baseline 'l3'"),
        ("- {mdr.levels: [-3, 0, 3]", "- {mdr.levels: [-3, 0, 1]", "start_from.0", "not evenly spaced"),
        ("- {mdr.levels: [-3, 0, 3]", "- {mdr.levels: [-7, 0, 7]", "start_from.0", "outside of 1 to 5"),
        ("- {mdr.levels: [-3, 0, 3]", "- {mdr.levls: [-3, 0, 3]", "start_from.0", "is not searched"),
        ("name: mdr_levels\n", "name: a b\n", "name", "is not allowed"),
        (
            "metric: val/recall_at_1",
            "metric: val/recall",
            "metric",
            "unknown metric 'val/recall'. Did you mean val/recall_at_1? Give",
        ),
    ],
)
def test_a_mistake_is_named_with_file_line_key_and_fix(
    tmp_path: Path, old: str, new: str, where: str, what: str
) -> None:
    assert MAIN.count(old) >= 1
    text = MAIN.replace(old, new, 1)
    line = next(i for i, (a, b) in enumerate(zip(MAIN.splitlines(), text.splitlines(), strict=True), 1) if a != b)
    message = problem(tmp_path, text)
    assert f"sweep.yaml:{line}: {where}: " in message
    assert what in message


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = MAIN.replace("conv4", "conv5").replace("sampler: tpe", "sampler: tpee")
    assert len(problem(tmp_path, text).splitlines()) == 2


def test_a_missing_name_an_unknown_top_key_and_a_doubled_key(tmp_path: Path) -> None:
    assert "name: is missing" in problem(tmp_path, MAIN.replace("name: mdr_levels\n", "", 1))
    assert "serach: unknown key. Did you mean 'search'?" in problem(tmp_path, MAIN + "serach: 1\n")
    assert ": the key 'metric' stands twice" in problem(tmp_path, MAIN + "metric: val/map_at_r\n")


@pytest.mark.parametrize(
    ("text", "overrides", "what"),
    [
        ("? [a, b]\n: 1\n", [], "sweep.yaml:1: a key must be plain text"),
        ("name: x\nspace: &a\n  mdr.weight: *a\n", [], "refers to the mapping or list that contains it"),
        ("name: x\nspace:\n", ["space.mdr.weight={uniform: [2, 1]}"], "is reversed"),
        ("name: x\nspace: 5\n", ["space.mdr.weight={uniform: [1, 2]}"], "space is no mapping"),
        (MAIN, ["start_from=5", "trial.loss.margin=0.3"], "start_from: expected a list, got 5"),
        (MAIN, ["start_from=[{mdr.levels: []}]"], "expected a list of numbers, such as [-3, 0, 3], got []"),
        (MAIN, ["start_from=[{mdr.levels: abc}]"], "expected a list of numbers, such as [-3, 0, 3], got 'abc'"),
        (MAIN, ["space.loss.margin={choice: [2020-01-01]}"], "expected a number, got '2020-01-01' (text)"),
        (MAIN, ["space.loss.margin={choice: [1, 1.0]}"], "a value is listed twice"),
        (MAIN, ["search.seed=5000000000"], "search.seed: must be less than 4294967296"),
        (
            MAIN,
            ["trial.optimizer.schedule.milestones=[-1]"],
            "trial.optimizer.schedule.milestones.0: must be greater than or equal to 1",
        ),
        (MAIN, ["trial.loss={margin: 1, margin: 2}"], "--set trial.loss={margin: 1, margin: 2}: "),
        (MAIN, ["trial.loss={[a]: 1}"], "is not a YAML value (line 1: a key must be plain text)"),
    ],
)
def test_odd_yaml_and_odd_overrides(tmp_path: Path, text: str, overrides: list[str], what: str) -> None:
    assert what in problem(tmp_path, text, *overrides)


@pytest.mark.parametrize("text", ["", "[1, 2]", "just text"])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    assert "expected a mapping" in problem(tmp_path, text)


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    assert problem(tmp_path, "name: x\ntrial: {").startswith("sweep.yaml:2: not valid YAML")


def test_a_missing_file_lists_those_beside_it() -> None:
    with pytest.raises(UserError, match=r"mdr_level\.yaml: no such file.*mdr_levels\.yaml"):
        read_sweep(SPACES / "mdr_level.yaml", [])


def test_set_overrides_and_fixes_a_searched_key() -> None:
    sweep, notes = read_sweep(SEARCH, ["trial.loss.margin=0.3", "resources.workers_per_trial=1", "search.trials=3"])
    assert sweep.trial.loss.margin == 0.3
    assert sweep.resources.workers_per_trial == 1
    assert "loss.margin" not in sweep.space
    assert "loss.margin" not in sweep.start_from[0]
    assert notes == ["loss.margin is fixed by --set and no longer searched"]


def test_set_can_change_and_remove_a_part_of_the_space() -> None:
    sweep, _ = read_sweep(SEARCH, ["space.mdr.weight={uniform: [0.1, 0.2]}", "space.mdr.levels=null"])
    assert sweep.space["mdr.weight"].describe() == "0.1 to 0.2"
    assert set(sweep.space) == {"mdr.weight", "loss.margin"}


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("trial.loss.margn=0.3", "--set trial.loss.margn=0.3: trial.loss.margn: unknown key"),
        ("trial.loss", "expected KEY=VALUE"),
        ("trial.epochs=[", "is not a YAML value"),
        ("space.mdr.weight={uniform: [3, 1]}", "is reversed"),
        ("space.mdr.wait=null", "mdr.wait is not in the space"),
    ],
)
def test_a_bad_set_is_named(tmp_path: Path, override: str, what: str) -> None:
    assert what in problem(tmp_path, MAIN, override)


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("lr=1", "lr: unknown key. Did you mean trial.optimizer.learning_rate? Known here: baselines"),
        ("trial.optimizer.lr=1", "trial.optimizer.lr: unknown key. Did you mean 'learning_rate'?"),
        ("trial.lr=1", "trial.lr: unknown key. Did you mean trial.optimizer.learning_rate?"),
        ("epochs=3", "--set epochs=3: epochs: unknown key. Did you mean trial.epochs?"),
        ("epoch=3", "epoch: unknown key. Did you mean trial.epochs?"),
        ("trial.batch_size=3", "unknown key. Did you mean trial.batch.size?"),
        ("trial.margin=3", "unknown key. Did you mean trial.loss.margin or trial.miner.margin?"),
        ("seed=1", "unknown key. Did you mean trial.seed or search.seed or"),
        ("trial.optimizer.scheduler=cosine", "unknown key. Did you mean 'schedule'?"),
        ("trail.epochs=3", "--set trail.epochs=3: trail: unknown key. Did you mean 'trial'?"),
        ("trial.data.image_size=64", "trial.data.image_size: unknown key. Known here: name, validation."),
        ("trial.loss={arcface: {scale: 16}}", "write {name: arcface, ...}, its keys beside the name"),
        ("search.scheduler={asha: {grace_epochs: 2}}", "write {name: asha, ...}, its keys beside the name"),
        ("trial.loss.num_classes=3", "num_classes comes from the data set: leave it out."),
        ("trial.loss=[triplet, arcface]", "to try several values write them under space, as loss: [triplet, arcface]"),
        ("trial.loss={choice: [triplet]}", "write them under space, as loss: {choice: [triplet]}"),
        (
            "trial.optimizer.learning_rate={loguniform: [1e-3, 1e-2]}",
            "write them under space, as optimizer.learning_rate: {loguniform: [0.001, 0.01]}",
        ),
        ("trial.precision=[fp32, bf16]", "write them under space, as precision: [fp32, bf16]"),
        ("trial.mdr.levels=[[0], [-3, 3]]", "write them under space, as mdr.levels: [[...], [...]]"),
        ("space.lr={uniform: [0, 1]}", "space.lr: is no key of a trial. Did you mean optimizer.learning_rate?"),
        (
            "trial.backbone.warmup_epochs=2",
            "unknown key. Did you mean trial.backbone.frozen_epochs or trial.mdr.warmup",
        ),
        ("trial.warmup_epochs=2", "trial.mdr.warmup_epochs or trial.backbone.frozen_epochs or trial.optimizer.sch"),
        (
            "space.warmup_epochs=[0, 2]",
            "no key of a trial. Did you mean mdr.warmup_epochs or backbone.frozen_epochs or",
        ),
        ("space.backbone.warmup_epochs=[0, 2]", "no key of a trial. Did you mean backbone.frozen_epochs or"),
        ("space.size=[16, 32]", "is no key of a trial. Did you mean batch.size or memory.size or embedding.size?"),
        ("start_from=[{levels: [0]}]", "start_from.0: levels is not searched: it is none of loss.margin, mdr.levels,"),
        ("start_from=[{lr: 1}, {levels: [0]}]", "mdr.weight. Did you mean mdr.levels?"),
        ("baselines=[triplet, contrastive]", "space: {loss: [triplet, contrastive], mdr: [null, {weight: 0.1}]}"),
        ("baselines=[tripled]", "with loss triplet there are: triplet, triplet_l2. Did you mean 'triplet'?"),
        ("name=2024", """name: expected text, got 2024: put it in quotes: --set 'name="2024"'"""),
        ("name=2024.10", """--set 'name="2024.10"'"""),
        ("name=null", """--set 'name="null"'"""),
        ("trial.data={name: table, file: t.csv, label_column: 3}", 'expected text, got 3: put it in quotes: "3"'),
        ("trial.data={name: folder, root: [a]}", "trial.data.root: expected text, got ['a']"),
        ("trial.data.name=[a", "not a YAML value (line 1: not valid YAML: expected ',' or ']', but got"),
        ("trial.data.name=[a", """If it is text, put it in quotes: --set 'trial.data.name="[a"'"""),
        ("trial.epochs=1:30", "expected a whole number, got '1:30' (text): write 90, if that is what it stands for"),
        ("trial.epochs=0b11", "trial.epochs: expected a whole number, got '0b11' (text): write 3"),
        ("trial.epochs=1,000", "expected a whole number, got '1,000' (text): write 1000, without separators"),
        ("trial.iterations_per_epoch=12,345,678", "write 12345678, without separators"),
        ("trial.loss.margin=1,000", "expected a number, got '1,000' (text): write 1000, without separators"),
        ("trial.loss.margin=0,125", "expected a number, got '0,125' (text): write 0.125\n"),
        ("trial.epochs=1_000", "trial.epochs: expected a whole number, got '1_000' (text): write 1000"),
        ("trial.epochs='8'", "trial.epochs: expected a whole number, got '8' (text): write 8"),
        ("trial.epochs=1e1", "trial.epochs: expected a whole number, got 10.0: write 10"),
        ("trial.optimizer.learning_rate=0,5", "expected a number, got '0,5' (text): write 0.5"),
        ("trial.compile=yes", "trial.compile: expected true or false, got 'yes' (text): write true"),
        ("search.stop.time=1:30", "expected a time such as 90s, 30m, 2h or 1h30m, got '1:30'"),
        ("trial..epochs=3", "expected KEY=VALUE"),
        ("<x>=3", "<x>: unknown key"),
        ("search.trials=9223372036854775807", "search.trials: must be less than or equal to 1000000"),
        ("search.seeds_per_trial=100000000", "search.seeds_per_trial: must be less than or equal to 10000"),
        ("metric=val/recall_at_" + "9" * 5000, "unknown metric"),
        ("trial.mdr.level=[-3, 0, 3]", "trial.mdr.level: unknown key. Did you mean 'levels'?"),
        ("mdr.level=[-3, 0, 3]", "mdr: unknown key. Write trial: {mdr: {levels: [-3, 0, 3]}}, or --set"),
        (
            "space={mdr: {weight: [0, 1]}}",
            "space.mdr.weight: unknown key. Keys of the space have dots: write mdr.weight:",
        ),
        ("space.loss.margin={min: 0, max: 1}", "write {uniform: [0, 1]}, or {int: [0, 1]} for whole numbers"),
        ("space.loss.margin={low: 0.1, high: 1, log: true}", "write {loguniform: [0.1, 1]}"),
        ("space.loss.margin={uniform: {min: 0, max: 1}}", "write [0, 1]"),
        ("space.loss.margin={values: [0.1, 0.2]}", "write {choice: [0.1, 0.2]}"),
        ("space.loss.margin='0.1'", "expected what to search, such as {uniform: [0, 1]} or [a, b], got '0.1'"),
        ("trial.loss=TripletMarginLoss", "unknown loss 'TripletMarginLoss'. Did you mean 'triplet'?"),
        ("trial.loss=CircleLoss", "unknown loss 'CircleLoss'. Did you mean 'pml.CircleLoss'?"),
        ("trial.loss=infonce", "Did you mean 'pml.NTXentLoss'?"),
        ("search.scheduler=ASHA", "Did you mean 'asha'?"),
        ("metric=Recall@4", "unknown metric 'Recall@4'. Did you mean val/recall_at_4? Give"),
        ("metric=MAP@R", "Did you mean val/map_at_r?"),
        ("metric=accuracy", "unknown metric 'accuracy': give val/recall_at_1"),
        ("trial.optimizer=AdamW", "expected 'adam', 'adamw' or 'sgd', got 'AdamW' (text): write adamw"),
        ("search.sampler=TPESampler", "got 'TPESampler' (text): write tpe"),
        ("search.sampler=bayes", "write tpe"),
        ("trial.precision=float16", "got 'float16' (text): write fp16"),
        ("trial.precision=16", "got 16: write fp16"),
        ("baselines=triplet", "baselines: expected a list, got 'triplet' (text): write [triplet]"),
        ("baselines=none", "expected a list, got 'none' (text): write []"),
        ("trial.mdr=0.1", "trial.mdr: expected a mapping, got 0.1: write mdr: {weight: 0.1}"),
        ("trial.mdr=[0, 1]", "write mdr: {levels: [0, 1]}"),
        ("trial.mdr=none", "trial.mdr: expected a mapping, got 'none' (text): write null"),
        ("trial.mdr={levels: none}", "trial.mdr.levels: expected a list, got 'none' (text)\n"),
        ("trial.batch=64", "write batch: {size: 64}"),
        ("trial.embedding=l2", "write embedding: {mode: l2}"),
        ("search.seeds=[]", "must have at least 1 value, got []"),
    ],
)
def test_hints_say_what_was_probably_meant(tmp_path: Path, override: str, what: str) -> None:
    assert what in problem(tmp_path, MAIN, override) + "\n"


@pytest.mark.parametrize(
    "override",
    [
        "trial.optimizer.lr={loguniform: [1e-5, 1e-3]}",
        "optimizer.lr={loguniform: [1e-5, 1e-3]}",
        "lr=[1e-4, 1e-3]",
        "trial.learning_rate=[1e-4, 1e-3]",
        "optimizer.learning_rate={choice: [1e-4, 1e-3]}",
        "trial.mdr.levels={uniform: [1, 2]}",
        "trial.seeds=[1, 2]",
        "trial.seed=[1, 2]",
        "seeds=[1, 2]",
        "mdr.weight={uniform: [0, 1]}",
        "mdr.weight=0.5",
        "objective=recall_at_1",
        "objective.metric=recall_at_1",
        "search.metric=Recall@1",
    ],
)
@pytest.mark.parametrize("in_file", [False, True])
def test_what_a_hint_says_works(tmp_path: Path, override: str, in_file: bool) -> None:
    """The text that follows `write`, or `as`, is added to the file, or given by --set."""
    key, _, value = override.partition("=")
    nested = value
    for part in reversed(key.split(".")):
        nested = f"{{{part}: {nested}}}"
    tree = yaml.safe_load(SMALL)
    merge(tree, yaml.safe_load(nested))
    said = problem(tmp_path, yaml.safe_dump(tree)) if in_file else problem(tmp_path, SMALL, override)
    advice = re.split(r"(?:, as| write|\. Write) (?=\S+: )", said)[1].partition(", or --set")[0]
    name, _, text = advice.partition(": ")
    if "under space" in said:
        name = f"space.{name}"
    file = tmp_path / "followed.yaml"
    file.write_text(SMALL)
    read_sweep(file, [f"{name}={text}"])


def merge(tree: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            merge(tree[key], value)
        else:
            tree[key] = value


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("  epochs: 8\n", "  optimizer.momentum: 0.9\n", "unknown key. Write trial: {optimizer: {momentum: 0.9}}, or"),
        (
            "name: mdr_levels\n",
            "name: 2024.10\n",
            'yaml:3: name: expected text, got 2024.1: put it in quotes: "2024.10"',
        ),
        ("name: mdr_levels\n", "name: 010\n", 'name: expected text, got 10: put it in quotes: "010"'),
        ("name: mdr_levels\n", "name:\n", "name: expected text, got nothing (null)"),
        ("name: mdr_levels\n", "name: ~\n", 'put it in quotes: "~"'),
        ("backbone: conv4\n", "backbone: {name: resnet18, weights: null}\n", "got nothing (null): write none"),
        ("start_from:", "1: 2\nstart_from:", "1: unknown key"),
        ("start_from:", "<x>: 2\nstart_from:", "<x>: unknown key"),
    ],
)
def test_hints_for_a_file(tmp_path: Path, old: str, new: str, what: str) -> None:
    assert what in problem(tmp_path, MAIN.replace(old, new, 1))


@pytest.mark.parametrize("name", ["2024-06-01", "2024_06_01", "no", "1.2.3", "'2024'", '"010"'])
def test_names_that_old_yaml_takes_for_something_else(tmp_path: Path, name: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(MAIN.replace("name: mdr_levels", f"name: {name}"))
    assert read_sweep(file, [])[0].name == read_sweep(file, [f"name={name}"])[0].name == name.strip("\"'")


def test_zeros_in_front_of_a_number_are_no_octal(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(MAIN.replace("optimizer: {", "optimizer: {schedule: {milestones: [010, 020, 030]}, "))
    trial = read_sweep(file, ["trial.seed=010"])[0].trial
    assert (trial.optimizer.schedule.model_dump()["milestones"], trial.seed) == ([10, 20, 30], 10)


def test_merge_keys_in_a_sweep_file_and_what_set_changes_of_them(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    text = (
        "name: merged\n"
        "trial: {mdr: &mdr {weight: 0.1, levels: [-3, 0, 3]}}\n"
        "space: {mdr: {choice: [null, &strong {<<: *mdr, weight: 0.5}]}}\n"
        "start_from: [{mdr: {<<: *strong}}]\n"
    )
    file.write_text(text)
    sweep, _ = read_sweep(file, ["trial.seed=1"])
    assert sweep.space["mdr"].model_dump()["choice"] == [None, {"weight": 0.5, "levels": [-3, 0, 3]}]
    assert sweep.start_from == [{"mdr": {"weight": 0.5, "levels": [-3, 0, 3]}}]
    sweep, _ = read_sweep(file, ["trial.epochs=3", "space.mdr=null", "start_from=[]", "trial.mdr.weight=0.3"])
    assert (sweep.trial.mdr.weight if sweep.trial.mdr else None) == 0.3
    wrong = problem(tmp_path, text.replace("-3, 0, 3]}}", "-3, 0, 3], margin: 1}}"))
    assert "sweep.yaml:2: trial.mdr.margin: unknown key" in wrong


def test_set_changes_the_one_place_and_not_all_that_have_its_alias(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("name: x\ntrial: {mdr: &mdr {weight: 0.1}}\nspace: {loss.margin: [0.1, 0.2], mdr: [null, *mdr]}\n")
    tree, source = read_tree(file)
    override(tree, "space.loss.margin=null", source)
    set_dotted(tree, "trial.mdr.weight", 0.3)
    assert tree["space"] == {"mdr": [None, {"weight": 0.1}]}


@pytest.mark.parametrize(
    ("space", "what"),
    [
        ("epochs: {int: [1, 999999999999]}", "a grid of 999,999,999,999 combinations is more than can be run, 100,000"),
        (", ".join(f"{key}: {{int: [1, 100]}}" for key in ("epochs", "embedding.size", "seed")), "a grid of 1,000,000"),
    ],
)
def test_a_grid_too_large_for_memory_is_refused(tmp_path: Path, space: str, what: str) -> None:
    text = f"name: x\nsearch: {{sampler: grid, scheduler: none}}\nspace: {{{space}}}\n"
    assert what in problem(tmp_path, text)


@pytest.mark.parametrize("text", ["/data/run #2", "#id", "/a: b", "*x", "a ", "2024-06-01", "no"])
def test_text_of_a_set_is_taken_as_it_was_given(text: str) -> None:
    overrides = ["trial.data={name: table, file: t.csv}", f"trial.data.label_column={text}"]
    data = read_sweep(SEARCH, overrides)[0].trial.data
    assert data.arguments()["label_column"] == text


def test_yaml_is_loaded_safely(tmp_path: Path) -> None:
    assert "not valid YAML" in problem(tmp_path, "name: !!python/object/apply:os.system ['true']")


@pytest.mark.parametrize(
    ("short", "override", "section", "expected"),
    [
        ("backbone: conv4", "trial.backbone.weights=none", "backbone", {"name": "resnet18", "weights": "none"}),
        ("loss: {name: triplet, margin: 0.2}", "trial.loss.margin=0.3", "loss", {"name": "margin", "margin": 0.3}),
    ],
)
def test_set_goes_into_a_section_in_short_form(
    tmp_path: Path, short: str, override: str, section: str, expected: dict[str, object]
) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        MAIN.replace(short, f"{section}: {expected['name']}", 1).replace("baselines: [triplet, triplet_l2]", "")
    )
    sweep, _ = read_sweep(file, [override])
    assert expected.items() <= getattr(sweep.trial, section).model_dump().items()


def test_a_baseline_that_the_trial_or_the_space_does_not_allow_is_refused(tmp_path: Path) -> None:
    fixed = problem(tmp_path, MAIN, "trial.loss.margin=3.0")
    assert "baselines.1: triplet_l2: loss.margin: 3.0 cannot be met with embedding.mode l2" in fixed
    searched = problem(tmp_path, MAIN, "space.loss.margin={uniform: [1.9, 3.0]}", "start_from=[]")
    assert "baselines.1: triplet_l2: loss.margin: 3.0 cannot be met with embedding.mode l2" in searched


def test_arguments_with_a_default_can_be_searched(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("name: x\ntrial: {loss: pml.CircleLoss}\nspace:\n  loss.m: {uniform: [0.1, 0.5]}\n")
    sweep, _ = read_sweep(file, [])
    assert resolve(sweep.trial, sweep.space, {"loss.m": 0.3}).loss.arguments()["m"] == 0.3
    file.write_text("name: x\nspace:\n  miner.weights: [official, stable]\n")
    sweep, _ = read_sweep(file, [])
    assert resolve(sweep.trial, sweep.space, {"miner.weights": "stable"}).flat()["miner.weights"] == "stable"


def test_a_section_that_a_choice_replaces_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("name: x\ntrial: {mdr: {statistics: offdiagonal}}\nspace:\n  mdr: [null, {weight: 0.2}]\n")
    _, notes = read_sweep(file, [])
    assert notes == ["trial.mdr has no say: each choice of space.mdr replaces all of it"]


def test_a_grid_with_the_same_trial_twice_is_refused(tmp_path: Path) -> None:
    text = "name: x\nsearch: {sampler: grid}\nspace:\n  loss: [triplet, {name: triplet, margin: 0.2}]\n"
    assert "of 2 combinations of the grid only 1 differ: (" in problem(tmp_path, text)
    text = "name: x\nsearch: {sampler: grid}\nspace:\n  mdr.levels: {count: {int: [1, 2]}, spread: [1, 2]}\n"
    assert "of 4 combinations of the grid only 3 differ: (" in problem(tmp_path, text)  # one level has no spread


def test_a_starting_point_whose_values_do_not_go_together(tmp_path: Path) -> None:
    space = "space: {loss.pos_margin: {uniform: [0, 0.9]}, loss.neg_margin: {uniform: [0.95, 2]}, epochs: [1, 2]}"
    text = f"name: x\ntrial: {{loss: contrastive}}\n{space}\nstart_from: [{{loss.pos_margin: 0.5}}]\n"
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    assert read_sweep(file, [])[0].start_from == [{"loss.pos_margin": 0.5}]
    text = text.replace("[0.95, 2]", "[0.1, 2]")
    point = "{loss.pos_margin: 0.5, loss.neg_margin: 0.2, epochs: 1}"
    assert "pos_margin 0.5 must be below neg_margin 0.2" in problem(
        tmp_path, text.replace("{loss.pos_margin: 0.5}", point)
    )


def test_whole_numbers_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    text = "name: x\nspace:\n  batch.size: [8, 64]\n  batch.images_per_class: {int: [4, 5]}\n"
    message = "batch.size 8, batch.images_per_class 5 do not go together: batch: size 8 holds fewer than two classes"
    assert message in problem(tmp_path, text)


def test_a_problem_names_the_last_flag_that_gave_the_value(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("name: a\ntrial: {data: cub200}\nspace: {mdr.weight: [0.1, 0.2]}\n")
    given = ["trial.data.image_size=32", "trial.data={name: cub200, resize: 40, image_size: 64}"]
    with pytest.raises(UserError) as caught:
        read_sweep(file, given)
    assert str(caught.value).startswith(f"--set {given[1]}: trial.data.image_size: 64 is more than resize (40)")


def test_a_key_that_another_section_has_by_that_name_is_meant(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("name: a\nspace: {mdr.weight: [0.1, 0.2]}\ntrials: 3\n")
    with pytest.raises(UserError, match=r"trials: unknown key\. Did you mean search\.trials\?"):
        read_sweep(file, [])
