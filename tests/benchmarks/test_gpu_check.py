"""benchmarks/gpu_check.py without a GPU: its parts, limits and tables, and some of it on the CPU."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from tests.waiting import HANG_S

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from gpu.about import About, _older_than, ask
from gpu.parts import Part, parts_for
from gpu.report import write
from gpu.run import Result, read_tests, run_part
from gpu_check import MINUTES, lacking, main
from summary.rows import Row

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "scripts" / "gpu_check.sh"
MACHINE = About("gpubox: NVIDIA H200", "580.159", 1, [], ["ray"], "2.14")
BENCHMARK = Part("speed", "how fast", "benchmark", ("speed.py",), int(HANG_S))


def test_every_file_of_tests_is_in_a_part_and_every_script_is_there() -> None:
    words = [word for part in parts_for(False) for word in part.arguments if word.endswith(".py")]
    tests = {file.name for file in (REPOSITORY / "tests" / "gpu").glob("test_*.py")}
    scripts = {file.name for file in (REPOSITORY / "benchmarks").glob("*.py")}
    assert tests <= set(words) <= tests | scripts


def test_one_gpu_s_parts_take_what_was_promised() -> None:
    # Each limit has room beyond what its part should take; what is left over by one is the next one's.
    assert sum(part.limit_s for part in parts_for(False) if part.gpus == 1) < 1.5 * 60 * MINUTES


def test_a_part_that_cannot_be_run_is_skipped_with_the_reason() -> None:
    parts = {part.key: part for part in parts_for(False)}
    assert lacking(parts["steps"], MACHINE) is None
    assert lacking(parts["nccl"], MACHINE) == "needs 2 GPUs, this machine has 1"
    two = About("", None, 2, [], ["ray"], None)
    assert lacking(parts["nccl"], two) is None
    assert lacking(parts["lanes"], two) == "needs ray, which is not installed"


@pytest.mark.parametrize(("version", "older"), [("2.12.0+cu130", "2.14"), ("2.14.1", None), ("3.0", None)])
def test_an_older_torch_is_noticed(version: str, older: str | None, tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text('dependencies = [\n    "torch>=2.14",\n]\n')
    assert _older_than(version, project) == older


def test_this_machine_tells_what_it_has() -> None:
    about = ask({**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""})
    assert (about.gpus, about.missing, about.without, about.older_than) == (0, [], [], None)
    assert "torch" in about.machine


def run_script(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_s: float = HANG_S
) -> tuple[Result, str]:
    """Run a benchmark of this code as a part; returns its result and the log."""
    (tmp_path / "speed.py").write_text(code)
    monkeypatch.setattr("gpu.run.BENCHMARKS", tmp_path)
    with (tmp_path / "log").open("w") as log:
        result = run_part(BENCHMARK, dict(os.environ), left_s, log)
    return result, (tmp_path / "log").read_text()


def test_a_benchmark_s_figures_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"what": "a step", "against": "plain", "unit": "ms", "ours": 2.0, "theirs": 4.0}
    code = f"import sys; print('working'); open(sys.argv[-1], 'w').write('''{json.dumps([row])}''')"
    result, log = run_script(code, tmp_path, monkeypatch)
    assert (result.status, result.detail, result.rows) == ("passed", "1 figure", [Row(**row)])
    assert "===== speed: how fast\nworking\n" in log


@pytest.mark.parametrize(
    ("code", "left_s", "status", "detail"),
    [
        ("raise ValueError('no speed')", HANG_S, "failed", "0 figures"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", HANG_S, "failed", "0 figures"),
        ("import time; time.sleep(10**6)", 3.0, "out of time", "ended after 3 s"),
        ("", 0.0, "out of time", "not run: the time for all parts is over"),
    ],
)
def test_a_part_that_fails_or_hangs_does_not_end_the_check(
    code: str, left_s: float, status: str, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, _ = run_script(code, tmp_path, monkeypatch, left_s)
    assert (result.status, result.detail) == (status, detail)


def test_tests_are_counted(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "@pytest.fixture\ndef broken(): raise OSError\n"
        "def test_broken(broken): pass\n"
        "def test_no_gpu(): pytest.skip('needs a GPU')\n"
    )
    file = tmp_path / "found.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={file}", "--rootdir", str(tmp_path), str(tmp_path)]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    counts, skipped = read_tests(file)
    assert counts == {"passed": 1, "failed": 2, "skipped": 1}
    assert skipped == ["test_no_gpu: needs a GPU"]


def test_the_tables_have_the_machine_the_parts_and_the_figures(tmp_path: Path) -> None:
    speed = Row("a step", "plain", "images/s", 400.0, 100.0, more_is_better=True, aim=5.0)
    results = [
        Result(parts_for(False)[0], "failed", "3 passed, 1 failed, 1 skipped", 41.2, ["test_export: needs mlflow"]),
        Result(BENCHMARK, "passed", "1 figure", 12.0, rows=[speed]),
    ]
    write(tmp_path, MACHINE, results, False, date(2026, 12, 1))
    page = (tmp_path / "check.md").read_text()
    assert "gpubox: NVIDIA H200" in page
    assert "1 GPU, driver 580.159." in page
    assert "ray is not installed: what needs it is skipped." in page
    assert "This torch is older than 2.14, which mdr_tune asks for." in page
    assert "| speed | how fast | passed | 1 figure | 12 |" in page
    assert "| a step | plain | images/s | 400 | 100 | 4.00 |  |  |\n" in page
    assert "- test_export: needs mlflow" in page
    found = json.loads((tmp_path / "check.json").read_text())
    assert found["about"]["driver"] == "580.159"
    assert [part["status"] for part in found["parts"]] == ["failed", "passed"]
    assert found["rows"][0]["ours"] == 400.0


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gpu_check.about.ask", lambda _: About("a machine", None, 0, [], [], None))
    assert main(["--out", str(tmp_path)]) == 2
    assert "--cpu tries the check itself" in capsys.readouterr().err
    monkeypatch.setattr("gpu_check.about.ask", lambda _: About("", None, 0, ["pytest"], [], None))
    assert main(["--out", str(tmp_path)]) == 2
    assert "not installed: pytest" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file")]) == 2
    assert "no such folder can be made" in capsys.readouterr().err


@pytest.mark.slow
def test_the_script_on_a_cpu(tmp_path: Path) -> None:
    command = [str(SCRIPT), "--cpu", "--out", str(tmp_path), "--only", "steps", "failures", "training", "loss", "nccl"]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "check.json").read_text())
    assert {part["key"]: part["status"] for part in found["parts"]} == {
        "steps": "passed",
        "failures": "passed",
        "training": "passed",
        "loss": "passed",
        "nccl": "skipped",
    }
    units = {row["unit"] for row in found["rows"]}
    assert {"images/s", "steps/s", "%", "ms"} <= units
    assert found["on_cpu"]
