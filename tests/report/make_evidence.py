"""A made-up ablation, as MLflow would give it back: what tables, figures and pages are tested and looked at with."""

import datetime
from typing import Any

import numpy as np

from mdr_tune.config.strict_model import set_dotted
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.distance_snapshot import BINS, HIGH, LOW, DistanceSnapshot
from mdr_tune.records.metrics import EPOCHS_KEY
from mdr_tune.records.objectives import best_epoch_key, best_key
from mdr_tune.records.query_details import ShownImage, ShownQuery, TestDetails
from mdr_tune.records.recorded_sweep import RecordedTrial, SweepEvidence, SweepFacts, SweepRecords
from mdr_tune.records.trial_record import TrialRecord

METRIC = "val/recall_at_1"
SIZES = (32, 64)
ARMS = ("mdr", "triplet", "triplet_l2")
EPOCHS = 8
CLASSES, IMAGES_OF_A_CLASS, PICTURE = 20, 20, 16
KS = (1, 2, 4, 8)
RECALL = {  # percent on test, by arm and embedding size
    ("mdr", 32): 68.0,
    ("mdr", 64): 80.0,
    ("triplet", 32): 67.5,
    ("triplet", 64): 72.0,
    ("triplet_l2", 32): 62.0,
    ("triplet_l2", 64): 70.0,
}
SEED_EFFECT = (0.0, 2.0, -2.0)
"""Of a seed on all of its trials: what pairing takes out."""
FAILS = ("mdr", 32)
"""The configuration whose last seed diverges at epoch 3."""


def make_evidence(seeds: int = 3, sweep: str = "ablation_demo", failed: bool = True) -> SweepEvidence:
    """Return 2 embedding sizes x (triplet + MDR, triplet, triplet_l2) x `seeds` training seeds, on glyphs.

    MDR gains much and evenly at size 64, next to nothing over triplet at size 32. With `failed`, and more than one
    seed, the last seed of MDR at size 32 diverged. The same arguments give the same evidence, to the bit.
    """
    trials: list[RecordedTrial] = []
    details: dict[str, TestDetails] = {}
    for arm in ARMS:
        for number, size in enumerate(SIZES):
            for place in range(seeds):
                fails = failed and seeds > 1 and place == seeds - 1 and (arm, size) == FAILS
                trial, found = _trial(arm, number, size, place, fails)
                trials.append(trial)
                if found is not None:
                    details[trial.record.name] = found
    records = SweepRecords(
        name=sweep,
        experiment_id="1",
        parent_run_id="0123456789abcdef0123456789abcdef",
        status="FINISHED",
        metric=METRIC,
        second_metric=None,
        trials=trials,
        read_at=datetime.datetime(2026, 1, 2, 4, 0),
    )
    return SweepEvidence(records, _facts(sweep, seeds), details)


def nested(config: TrialConfig) -> dict[str, Any]:
    """Return a configuration as the reader makes it of MLflow's parameters: nested, every `auto` decided."""
    tree: dict[str, Any] = {}
    for key, value in config.flat().items():
        set_dotted(tree, key, value)
    return tree


def _facts(sweep: str, seeds: int) -> SweepFacts:
    return SweepFacts(
        started=datetime.datetime(2026, 1, 2, 3, 4, 5),
        ended=datetime.datetime(2026, 1, 2, 3, 34, 5),
        command=f"launch.py --space search_spaces/{sweep}.yaml",
        protocol="validation",
        sampler="grid",
        seeds=list(range(seeds)),
        epochs=[EPOCHS],
        workers_per_trial=2,
        images={
            "train": "692 classes, 13840 images",
            "validation": "272 classes, 5440 images",
            "test": f"{CLASSES} classes, {CLASSES * IMAGES_OF_A_CLASS} images",
            "content": "0f1e2d3c4b5a6978",
        },
        versions={"python": "3.12.1", "torch": "2.14.0", "ray": "2.60.0", "mlflow": "3.17.0", "mdr_tune": "0.1.0"},
        commit="c117c9e0000000000000000000000000deadbeef",
        devices=["cpu"],
        sweep_file=(
            f"name: {sweep}\nmetric: {METRIC}\ntrial:\n  data: {{name: glyphs}}\n  epochs: {EPOCHS}\n"
            f"search: {{sampler: grid, scheduler: none, seeds: {list(range(seeds))}}}\n"
            f"space:\n  embedding.size: {list(SIZES)}\nbaselines: [triplet, triplet_l2]\n"
        ),
    )


def _trial(arm: str, number: int, size: int, place: int, fails: bool) -> tuple[RecordedTrial, TestDetails | None]:
    name = f"{arm}-{number + 1:03d}" + (f".{place + 1}" if place else "")
    rng = np.random.default_rng([ARMS.index(arm), number, place])
    config = TrialConfig.model_validate(
        {
            "embedding": {"size": size, "mode": "l2" if arm == "triplet_l2" else "rescale"},
            "mdr": {"weight": 0.1, "levels": [-3.0, 0.0, 3.0]} if arm == "mdr" else None,
            "epochs": EPOCHS,
            "iterations_per_epoch": 24,
            "curves": ["train", "test"],
            "seed": place,
        }
    )
    recall = RECALL[arm, size] + SEED_EFFECT[place % len(SEED_EFFECT)] + float(rng.normal(0.0, 0.3))
    history = _history(recall, arm == "mdr", rng)[: 3 if fails else EPOCHS]
    record = TrialRecord(
        name=name,
        arm=arm,
        number=number,
        seed_index=place,
        parameters={"embedding.size": size},
        config=nested(config),
        history=history,
        outcome="diverged" if fails else "completed",
        error="train/loss is not finite at epoch 3" if fails else None,
        device="cpu",
        distances=_distances(history, arm == "mdr", 1.0 if arm == "triplet_l2" else 1.4),
    )
    best = max((entry[METRIC], entry["epoch"]) for entry in history)
    metrics = {key: value for key, value in history[-1].items() if key != "epoch"}
    metrics |= {EPOCHS_KEY: history[-1]["epoch"], best_key(METRIC): best[0], best_epoch_key(METRIC): best[1]}
    details = None if fails else _details(recall, rng)
    if details is not None:
        names = [*(f"recall_at_{k}" for k in KS), "map_at_r", "r_precision"]
        metrics |= {f"test/{name}": float(np.nanmean(details.per_query(name))) for name in names}
    return RecordedTrial(record, f"{ARMS.index(arm)}{number}{place}".ljust(32, "0"), metrics), details


def _history(recall: float, with_mdr: bool, rng: np.random.Generator) -> list[dict[str, float]]:
    """Return epochs in which the quality rises to about `recall`, and the levels move towards each other."""
    entries = []
    for epoch in range(1, EPOCHS + 1):
        progress = 1.0 - np.exp(-epoch / 2.0)
        quality = recall * progress + float(rng.normal(0.0, 0.4))
        entry = {"epoch": float(epoch)}
        for split, shift in (("val/", 3.0), ("curves/train_", 12.0), ("curves/test_", 0.0)):
            top = min(quality + shift, 99.5)
            for k in KS:
                entry[f"{split}recall_at_{k}"] = 100.0 - (100.0 - top) * 0.62 ** np.log2(k)
            entry[f"{split}map_at_r"] = 0.55 * top
            entry[f"{split}r_precision"] = 0.63 * top
        entry["train/dml_loss"] = 0.4 * float(np.exp(-epoch / 4.0))
        entry["train/loss"] = entry["train/dml_loss"]
        entry["time/epoch_s"], entry["time/images_per_s"] = 3.0, 1024.0
        if with_mdr:
            levels = [-3.0 + 0.12 * epoch, 0.03 * epoch, 3.0 - 0.1 * epoch]
            shares = [0.03 + 0.01 * epoch, 0.80 - 0.025 * epoch, 0.17 + 0.015 * epoch]
            entry |= {f"mdr/level_{i}": level + float(rng.normal(0.0, 0.03)) for i, level in enumerate(levels)}
            entry |= {f"mdr/held_{i}": share for i, share in enumerate(shares)}
            entry |= {"mdr/mean": 1.0 - 0.01 * epoch, "mdr/std": 0.2 + 0.01 * epoch, "mdr/weight": 0.1}
            entry["train/mdr_loss"] = 0.7 * float(np.exp(-epoch / 12.0))
            entry["train/loss"] += 0.1 * entry["train/mdr_loss"]
        entries.append({key: float(value) for key, value in entry.items()})
    return entries


def _distances(history: list[dict[str, float]], with_mdr: bool, width: float) -> list[DistanceSnapshot]:
    """Return snapshots early, mid and at the end: pairs of one class move to the left."""
    edges = np.linspace(LOW, HIGH, BINS + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    snapshots = []
    for index in sorted({0, len(history) // 2, len(history) - 1}):
        entry = history[index]
        epoch = int(entry["epoch"])
        counts = [
            np.round(number * np.exp(-0.5 * ((middles - centre) / spread) ** 2)).astype(int).tolist()
            for number, centre, spread in ((12, -0.3 * epoch, 0.8 * width), (260, 0.1, 0.7 * width))
        ]
        levels = [entry[f"mdr/level_{i}"] for i in range(3)] if with_mdr else None
        held = [entry[f"mdr/held_{i}"] for i in range(3)] if with_mdr else None
        snapshots.append(DistanceSnapshot(epoch, counts[0], counts[1], levels, held))
    return snapshots


def _details(recall: float, rng: np.random.Generator) -> TestDetails:
    """Return an evaluation in which about `recall` percent of the queries, those of easy classes first, are hits."""
    labels = np.repeat(np.arange(CLASSES), IMAGES_OF_A_CLASS).astype(np.int64)
    n = len(labels)
    ease = np.linspace(1.5, -1.5, CLASSES)[labels] + np.random.default_rng(7).normal(size=n) + 0.4 * rng.normal(size=n)
    order = np.argsort(-ease)
    first_hit = np.zeros(n, dtype=np.int64)
    limits = [100.0 - (100.0 - recall) * 0.62 ** np.log2(k) for k in KS]
    start = 0
    for rank, share in zip(KS, limits, strict=True):
        stop = round(n * share / 100.0)
        first_hit[order[start:stop]] = rank
        start = stop
    average_precision = np.clip(0.55 * recall / 100.0 + 0.18 * ease, 0.0, 1.0)
    angles = np.linspace(0.0, 2.0 * np.pi, CLASSES, endpoint=False)
    plan = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    centres = plan @ np.random.default_rng(11).normal(size=(2, 16)) + (100.0 - recall) / 60.0 * rng.normal(
        size=(CLASSES, 16)
    )
    return TestDetails(
        labels=labels,
        first_hit=first_hit,
        average_precision=average_precision,
        r_precision=np.clip(1.1 * average_precision, 0.0, 1.0),
        centre_labels=np.arange(CLASSES, dtype=np.int64),
        centres=centres.astype(np.float32),
        shown=[
            _shown(kind, int(index), labels, float(average_precision[index]), rng)
            for kind, indices in (("best", order[:3]), ("worst", order[::-1][:3]))
            for index in indices
        ],
    )


def _shown(kind: Any, index: int, labels: np.ndarray, score: float, rng: np.random.Generator) -> ShownQuery:
    own = int(labels[index])
    wrong = [(own + step) % CLASSES for step in range(1, 6)]
    neighbours = [own] * 4 + wrong[:1] if kind == "best" else [*wrong[:3], own, *wrong[3:4]]
    pictures = [ShownImage(label, _picture(label, rng)) for label in [own, *neighbours]]
    return ShownQuery(kind, index, score, pictures[0], pictures[1:])


def _picture(label: int, rng: np.random.Generator) -> np.ndarray:
    """Return a small grey picture of a class, (1, H, W): a bar at the angle that is the class's, with noise."""
    rows, columns = np.mgrid[0:PICTURE, 0:PICTURE] - (PICTURE - 1) / 2.0
    angle = np.pi * label / CLASSES
    bar = np.abs(rows * np.cos(angle) - columns * np.sin(angle)) < 2.0
    noisy = 40.0 + 180.0 * bar + rng.normal(0.0, 12.0, size=bar.shape)
    pixels: np.ndarray = np.clip(noisy, 0, 255).astype(np.uint8)[None]
    return pixels
