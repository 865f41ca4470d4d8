"""clusters/setup_node.sh: what a shell of a node knows after it, that it is quick a second time, what it refuses."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import HANG_S

PROJECT = Path(__file__).parents[2]
PARTS = ("clusters", "mdr_tune", "requirements.txt", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home with the project in it, as `ray up` leaves it."""
    project = tmp_path / "mdr_tune"
    project.mkdir()
    for part in PARTS:
        source = PROJECT / part
        if source.is_dir():
            shutil.copytree(source, project / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, project)
    yield tmp_path
    shutil.rmtree(tmp_path)  # an environment is 6 GB, and pytest keeps what the last runs left


def set_up(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script with this home."""
    return run(home, f"bash ~/mdr_tune/clusters/setup_node.sh {' '.join(arguments)}", **variables)


def run(home: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of a shell with this home and little else."""
    return subprocess.run(
        ["bash", "-c", command],
        env={"HOME": str(home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )


def with_given(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script with the environment of these tests."""
    return set_up(home, *arguments, MDR_TUNE_ENV=sys.prefix, **variables)


def shell(home: Path, text: str, **variables: str) -> str:
    """Return what a shell prints that read the .bashrc."""
    done = run(home, f". ~/.bashrc; {text}", **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_shells_of_a_node_find_the_given_environment_and_the_synced_project(home: Path) -> None:
    done = with_given(home)
    assert (done.returncode, done.stderr) == (0, "")
    assert shell(home, "command -v python") == f"{sys.prefix}/bin/python"
    found = shell(home, "cd /; python -c 'import mdr_tune; print(mdr_tune.__file__)'")
    assert found == str(home / "mdr_tune/mdr_tune/__init__.py")
    assert shell(home, "echo $RAY_AUTH_MODE") == "token"


def test_only_shells_of_the_head_know_where_ray_and_mlflow_are(home: Path) -> None:
    ask = "echo ${RAY_ADDRESS:-none} ${MLFLOW_TRACKING_URI:-none}"
    assert with_given(home).returncode == 0
    assert shell(home, ask) == "none none"
    assert with_given(home, "--head").returncode == 0
    assert shell(home, ask) == "127.0.0.1:6379 http://127.0.0.1:5000"


def test_a_node_tells_the_address_it_was_reached_at(home: Path) -> None:
    assert with_given(home).returncode == 0
    ask = "echo ${MDR_TUNE_NODE_IP:-none}"
    assert shell(home, ask, SSH_CONNECTION="192.0.2.1 50000 127.0.0.1 22") == "127.0.0.1"
    assert shell(home, ask) == "none"


def test_gloo_is_told_the_interface_where_the_host_name_is_loopback(home: Path, tmp_path: Path) -> None:
    assert with_given(home).returncode == 0
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "getent").write_text("#!/bin/sh\necho $NAME_IS STREAM here\n")
    (programs / "getent").chmod(0o755)
    ask = f"PATH={programs}:$PATH; . ~/.bashrc; echo ${{GLOO_SOCKET_IFNAME:-none}} ${{NCCL_SOCKET_IFNAME:-none}}"
    reached = {"SSH_CONNECTION": "192.0.2.1 50000 127.0.0.1 22"}
    assert run(home, ask, NAME_IS="127.0.1.1", **reached).stdout.strip() == "lo lo"
    assert run(home, ask, NAME_IS="192.0.2.7", **reached).stdout.strip() == "none none"


def test_bashrc_gets_one_line_before_its_guard_and_keeps_the_rest(home: Path) -> None:
    before = "case $- in *i*) ;; *) return;; esac\necho interactive\n"
    (home / ".bashrc").write_text(before)
    for _ in range(2):
        assert with_given(home).returncode == 0
    first, *rest = (home / ".bashrc").read_text().splitlines(keepends=True)
    assert "environment.sh" in first
    assert "".join(rest) == before
    assert shell(home, "echo $RAY_AUTH_MODE") == "token"


def test_the_token_is_readable_by_its_owner_alone(home: Path) -> None:
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64)
    token.chmod(0o644)
    assert with_given(home).returncode == 0
    assert token.stat().st_mode & 0o777 == 0o600


def test_an_environment_with_other_versions_is_refused_with_their_names(home: Path) -> None:
    pins = home / "mdr_tune" / "requirements.txt"
    lines = pins.read_text().splitlines()
    pins.write_text("\n".join("ray==2.0.0" if line.startswith("ray==") else line for line in lines))
    done = with_given(home)
    assert done.returncode == 1
    assert "ray: " in done.stderr
    assert "pinned is ==2.0.0" in done.stderr
    assert "leave MDR_TUNE_ENV out" in done.stderr
    assert not (home / ".bashrc").exists()


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        ([], {"MDR_TUNE_ENV": "/nonexistent"}, "MDR_TUNE_ENV=/nonexistent: there is no bin/python in it"),
        (["--master"], {}, "unknown argument --master"),
    ],
)
def test_mistakes_are_said_in_a_sentence(
    home: Path, arguments: list[str], variables: dict[str, str], said: str
) -> None:
    done = set_up(home, *arguments, **variables)
    assert done.returncode == 1
    assert said in done.stderr


def test_without_python3_it_says_what_to_install(home: Path, tmp_path: Path) -> None:
    assert "apt-get install python3" in _with_programs(home, tmp_path / "programs", {"python3": None})


def test_without_room_on_the_disk_it_says_how_much_is_needed(home: Path, tmp_path: Path) -> None:
    full = "#!/bin/sh\necho header\necho /dev/vda 100 100 1048576 99% /\n"
    assert "1 GB free, the environment needs 10 GB" in _with_programs(home, tmp_path / "programs", {"df": full})


def _with_programs(home: Path, folder: Path, changes: dict[str, str | None]) -> str:
    """Return what the script says with the system's programs, but for some that are others, or not there."""
    folder.mkdir()
    for place in ("/usr/bin", "/bin"):
        for program in Path(place).iterdir():
            if program.name not in changes and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    for name, text in changes.items():
        if text is not None:
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
    done = set_up(home, PATH=str(folder))
    assert done.returncode == 1
    return done.stderr


@pytest.mark.slow
def test_it_installs_what_is_pinned_and_nothing_the_second_time(home: Path) -> None:
    variables = {key: value for key, value in os.environ.items() if key.startswith(("UV_", "PIP_", "SSL_"))}
    done = set_up(home, UV_CACHE_DIR=str(home / "cache"), **variables)
    assert done.returncode == 0, done.stderr
    assert shell(home, "command -v python") == str(home / "mdr_tune_env/bin/python")
    assert shell(home, "command -v mdr-tune") == str(home / "mdr_tune_env/bin/mdr-tune")
    versions = "import ray, torch, mlflow, sys, mdr_tune; print(sys.version_info[:2], mdr_tune.__file__)"
    assert shell(home, f'cd /; python -c "{versions}"') == f"(3, 11) {home}/mdr_tune/mdr_tune/__init__.py"
    check = shell(home, "python ~/mdr_tune/clusters/check_pins.py ~/mdr_tune && echo same")
    assert check == "same"
    again = set_up(home)
    assert (again.returncode, "up to date" in again.stdout) == (0, True)
