"""Cluster files as nobody would write them: fine, or an error of the user's, and never another exception."""

from pathlib import Path
from random import Random

import pytest

from mdr_tune.cluster.file_check import check_cluster_file
from tests.cluster.shipped import AWS, ONPREM, PROJECT, make_home, with_values_set
from tests.fuzz.attempts import check_each, some_seeds
from tests.fuzz.mutate import mutated


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(make_home(tmp_path / "home")))
    monkeypatch.chdir(PROJECT)


@some_seeds
def test_a_cluster_file_is_fine_or_refused(tmp_path: Path, seeds: range) -> None:
    texts = [with_values_set(shipped.read_text()) for shipped in (AWS, ONPREM)]

    def attempt(random: Random) -> None:
        file = tmp_path / "cluster.yaml"
        file.write_bytes(mutated(random.choice(texts), random))
        check_cluster_file(file)

    check_each(seeds, attempt)
