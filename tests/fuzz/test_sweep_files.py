"""Sweep files, and values of --set, as nobody would write them: planned, or refused, and never a traceback."""

from pathlib import Path
from random import Random

from tests.fuzz.attempts import check_each, dry_run, some_seeds
from tests.fuzz.mutate import TEXTS, VALUES, change_nodes, mutated

SPACES = Path(__file__).parents[2] / "search_spaces"
SHIPPED = [file.read_text() for file in sorted(SPACES.rglob("*.yaml"))]


@some_seeds
def test_a_sweep_file_is_planned_or_refused(tmp_path: Path, seeds: range) -> None:
    def attempt(random: Random) -> None:
        file = tmp_path / "sweep.yaml"
        file.write_bytes(mutated(random.choice(SHIPPED), random))
        dry_run(tmp_path / "runs", "--space", str(file))

    check_each(seeds, attempt)


KEYS = (
    *(
        "name",
        "trial",
        "trial.loss",
        "trial.mdr.levels",
        "trial.data",
        "trial.data.root",
        "trial.epochs",
        "trial.backbone",
    ),
    *(
        "space",
        "space.mdr.weight",
        "space.loss",
        "start_from",
        "baselines",
        "search",
        "search.trials",
        "search.seeds",
        ".",
    ),
    *("search.stop.time", "trial.backbone.weights", "metric", "second_metric", "resources", "a.b"),
)


@some_seeds
def test_a_set_is_taken_or_refused(tmp_path: Path, seeds: range) -> None:
    def attempt(random: Random) -> None:
        texts = [
            random.choice((*VALUES, *TEXTS)) + random.choice(("", "", *TEXTS)) for _ in range(random.choice((1, 2)))
        ]
        flags = [part for text in texts for part in ("--set", f"{random.choice(KEYS)}={text}".replace("\0", ""))]
        dry_run(tmp_path / "runs", "--space", str(random.choice(sorted(SPACES.rglob("*.yaml")))), *flags)

    check_each(seeds, attempt)


def test_a_change_of_nodes_is_most_often_yaml_still_and_the_same_for_a_seed() -> None:
    changed = [change_nodes(SHIPPED[0], Random(seed)) for seed in range(50)]
    assert changed == [change_nodes(SHIPPED[0], Random(seed)) for seed in range(50)]
    assert len(set(changed)) > 40
