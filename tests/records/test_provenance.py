"""What repeats a trial: versions, the commit of the source, and what differs between then and now."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records import provenance
from mdr_tune.records.journal import Past
from mdr_tune.records.provenance import differences, packages_of, repeat_info, source_of
from mdr_tune.sweep.own_components import changes_since, recorded_components
from mdr_tune.util.import_path import look_for_code_in


def info(**changes: Any) -> dict[str, Any]:
    return {**repeat_info(TrialConfig().model_dump(), 2, 1, "launch.py"), **changes}


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one committed package, `package`."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_it_is_plain_json_with_all_that_repeats_a_trial() -> None:
    found = repeat_info({**TrialConfig().model_dump(), "seed": 7}, 2, 3, "launch.py --tracking-uri http://me:secret@h")
    assert json.loads(json.dumps(found)) == found
    assert TrialConfig.model_validate(found["config"]).seed == found["seed"] == 7
    assert (found["workers"], found["threads"]) == (2, 3)
    assert found["command"] == "launch.py --tracking-uri http://me:***@h"
    assert found["versions"]["torch"] == importlib.metadata.version("torch")
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))


def test_cuda_is_what_torch_says_of_itself() -> None:
    import torch

    assert provenance.versions()["cuda"] == torch.version.cuda


def test_nothing_heavy_is_imported_for_it() -> None:
    imports = "import sys; from mdr_tune.records.provenance import repeat_info"
    code = f"{imports}; repeat_info({{}}, 1, 1, ''); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "ray", "mlflow", "optuna", "numpy"} & set(done.stdout.split())


def test_a_thousand_trials_look_at_the_machine_once(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrialConfig().model_dump()
    first = repeat_info(config, 1, 1, "launch.py")

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"again: {arguments}")

    monkeypatch.setattr("subprocess.run", refuse)
    monkeypatch.setattr("subprocess.Popen", refuse)
    monkeypatch.setattr("importlib.metadata.version", refuse)
    assert all(repeat_info(config, 1, 1, "launch.py") == first for _ in range(1000))


def test_the_source_is_its_commit_and_whether_files_of_it_were_changed(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert source_of(repository / "package") == {"commit": commit, "dirty": False}
    (repository / "notes.txt").write_text("git does not know it")
    assert source_of(repository / "package") == {"commit": commit, "dirty": False}
    (repository / "package" / "__init__.py").write_text("x = 1\n")
    assert source_of(repository / "package") == {"commit": commit, "dirty": True}


def test_a_package_that_a_repository_only_surrounds_is_not_of_it(repository: Path, tmp_path_factory: Any) -> None:
    installed = repository / "venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert source_of(installed) is None
    assert source_of(tmp_path_factory.mktemp("outside")) is None


def test_a_hooks_environment_does_not_lead_to_another_repository(
    repository: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = source_of(repository / "package")
    monkeypatch.setenv("GIT_DIR", str(tmp_path_factory.mktemp("elsewhere")))
    assert source_of(repository / "package") == expected is not None


def test_without_git_the_source_is_not_known(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert source_of(repository / "package") is None


def test_nothing_differs_from_itself_apart_from_configuration_and_command() -> None:
    clean = {"commit": "a" * 40, "dirty": False}
    assert differences(info(source=clean), info(source=clean, config={}, command="other")) == []


def test_what_differs_is_named_with_then_and_now() -> None:
    then = info(source={"commit": "aaa", "dirty": False}, device="cpu", cpu="one")
    now = info(source={"commit": "bbb", "dirty": True}, device="NVIDIA H100", cpu="other", workers=1)
    then["versions"] = {**then["versions"], "torch": "2.14.0", "cudnn": None}
    now["versions"] = {**now["versions"], "torch": "2.15.0", "cudnn": "9.1"}
    assert differences(then, now) == [
        "torch: 2.14.0 then, 2.15.0 now",
        "commit: aaa then, bbb now",
        "cpu: one then, other now",
        "device: cpu then, NVIDIA H100 now",
        "workers: 2 then, 1 now",
        "cudnn: not known then, 9.1 now",
        "source: files differ from the commit (now), and how is not recorded",
    ]


def test_a_source_without_a_repository_is_compared_too() -> None:
    assert differences(info(source=None), info(source=None)) == []
    lines = differences(info(source={"commit": "aaa", "dirty": False}), info(source=None))
    assert lines == ["commit: aaa then, not known now"]


def test_the_package_of_an_imported_component_is_recorded_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rerun and a resumed launch say that another version is installed; the user's own modules have none."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "netpack").mkdir()
    (tmp_path / "netpack" / "__init__.py").write_text("import torch\ndef net():\n    return torch.nn.Conv2d(3, 2, 3)\n")
    (tmp_path / "mine.py").write_text("from netpack import net\n")

    def install(version: str) -> None:
        facts = tmp_path / "Net_Pack.dist-info"
        facts.mkdir(exist_ok=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: Net-Pack\nVersion: {version}\n")
        (facts / "top_level.txt").write_text("netpack\n")
        provenance._packages_with.cache_clear()

    install("1.2")
    sweep = SweepConfig.model_validate({"name": "own", "trial": {"backbone": {"name": "netpack:net"}}})
    then, past = repeat_info(sweep.trial.model_dump(), 2, 1, "launch.py"), Past()
    past.add({"event": "tracked", "time": 0.0, "parent_run_id": "x", **recorded_components(sweep, None)})
    assert then["packages"] == past.packages == {"Net-Pack": "1.2"}
    install("1.3")
    now = repeat_info(sweep.trial.model_dump(), 2, 1, "launch.py")
    assert differences(then, now)[0] == "Net-Pack: 1.2 then, 1.3 now"
    assert changes_since(past, sweep, None) == ["Net-Pack: 1.2 then, 1.3 now"]
    assert "packages" not in info()
    provenance._packages_with.cache_clear()
    look_for_code_in([tmp_path])
    assert packages_of(["mine:net", "triplet"]) == {}
    look_for_code_in([])
