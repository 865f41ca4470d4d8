"""`mdr-tune data`: what it prints, what is in the cache afterwards, and the user's mistakes."""

import dataclasses
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from mdr_tune.cli.main import main, make_parser
from mdr_tune.data import open_data
from mdr_tune.data.published import cub200
from mdr_tune.data.published.benchmark import Count
from tests.data.images.pictures import truncate
from tests.data.published.layouts import full_cub200, picture, write_cub200, write_inshop
from tests.file_server import serving
from tests.waiting import HANG_S, wait_for

SMALL = ("--set", "resize=16", "--set", "image_size=16")


@pytest.fixture(autouse=True)
def _own_environment(environment_put_back: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder and a cache of its own, and nothing that an earlier test has opened."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(open_data, "_opened", {})
    monkeypatch.setenv("MDR_TUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Twelve classes of three images: four for the test, and two of the other eight for validation."""
    for class_id in range(12):
        (tmp_path / "own" / f"class_{class_id}").mkdir(parents=True)
        for number in range(3):
            picture(3 * class_id + number).save(tmp_path / "own" / f"class_{class_id}" / f"{number}.png")
    return tmp_path / "own"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """Return the exit code and the lines of stdout, or of stderr if it is not 0."""
    try:
        code = main(["data", *arguments])
    except SystemExit as ended:  # argparse
        code = int(ended.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return code, (captured.err if code == 2 else captured.out).splitlines()


def caches(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "images").glob("*.arrow"))


def test_a_folder_is_read_split_and_cached(capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path) -> None:
    code, lines = run(capsys, "prepare", "folder", "--root", "own", *SMALL)
    (cache,) = caches(tmp_path)
    assert code == 0
    assert lines == [
        "folder: reading image files: 0 of 36",
        "folder: reading image files: 36 of 36",
        "folder: decoding images (cache of 34.8 kB): 0 of 36",
        "folder: decoding images (cache of 34.8 kB): 36 of 36",
        "folder",
        "  train                18 images of       6 classes",
        "  validation            6 images of       2 classes",
        "  test                 12 images of       4 classes",
        f"  cache folder          36 images     16 x 16   {cache.stat().st_size / 1000:.1f} kB  {cache}",
    ]


def test_a_cache_that_is_there_costs_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, own: Path, tmp_path: Path
) -> None:
    _, first = run(capsys, "prepare", "folder", "--root", "own", *SMALL)
    made = caches(tmp_path)[0].stat()
    monkeypatch.setattr(open_data, "_opened", {})  # as in a new process
    code, lines = run(capsys, "prepare", "folder", "--root", "own", *SMALL)
    assert code == 0
    assert lines == first[4:]
    assert caches(tmp_path)[0].stat().st_mtime_ns == made.st_mtime_ns


def test_the_cache_of_another_state_of_the_images_is_not_shown(
    capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path
) -> None:
    for class_id in range(12):  # the same pixels, other bytes
        content = (own / "class_0" / "0.png").read_bytes() + bytes([class_id])
        (own / f"class_{class_id}" / "again.png").write_bytes(content)
    assert run(capsys, "prepare", "folder", "--root", "own", *SMALL)[0] == 2
    (refused,) = caches(tmp_path)
    for class_id in range(12):
        (own / f"class_{class_id}" / "again.png").unlink()
    code, lines = run(capsys, "prepare", "folder", "--root", "own", *SMALL)
    (used,) = {*caches(tmp_path)} - {refused}
    assert code == 0
    assert [line for line in lines if line.startswith("  cache")] == [lines[-1]]
    assert lines[-1].endswith(f"  {used}")


def test_without_the_cache_images_are_checked_and_not_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, own: Path, tmp_path: Path
) -> None:
    code, lines = run(capsys, "prepare", "folder", "--root", "own", *SMALL, "--set", "cache=false")
    assert code == 0
    assert lines[2:4] == ["folder: checking images: 0 of 36", "folder: checking images: 36 of 36"]
    assert [line.split()[0] for line in lines[4:]] == ["folder", "train", "validation", "test"]
    assert caches(tmp_path) == []
    truncate(own / "class_4" / "1.png")
    monkeypatch.setattr(open_data, "_opened", {})
    code, (line,) = run(capsys, "prepare", "folder", "--root", "own", *SMALL, "--set", "cache=false")
    assert code == 2
    assert line.startswith("error: data.corrupt: 1 of 36 images cannot be decoded: class_4/1.png (truncated); mend or")


def test_a_table_with_its_own_split(capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path) -> None:
    split = {8: "query", 9: "gallery", 7: "validation", 6: "validation"}
    rows = [(f"class_{c}/{i}.png", c, split.get(c, "train")) for c in range(8) for i in range(3)]
    rows += [(f"class_{c}/{i}.png", c, split[8 + min(i, 1)]) for c in (8, 9) for i in range(3)]
    (own / "products.csv").write_text("path,label,split\n" + "".join(f"{p},{c},{s}\n" for p, c, s in rows))
    arguments = ("prepare", "table", "--file", "own/products.csv", *SMALL, "--set", "split_column=split")
    code, lines = run(capsys, *arguments)
    assert code == 0
    assert lines[4:9] == [
        "table",
        "  train                18 images of       6 classes",
        "  validation            6 images of       2 classes",
        "  test queries          2 images of       2 classes",
        "  test gallery          4 images of       2 classes",
    ]
    code, lines = run(capsys, *arguments, "--root", "elsewhere")
    assert code == 2
    assert lines == [f"error: data.root: there is no folder {tmp_path}/elsewhere"]
    code, lines = run(capsys, *arguments, "--root", "")
    assert (code, lines) == (2, ["error: --root: must have at least 1 character, got '' (text)"])


def test_a_published_data_set_that_is_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_cub200(tmp_path / "datasets", full_cub200(), "linked")
    code, lines = run(capsys, "prepare", "cub200", *SMALL)  # datasets is where it is looked for
    assert code == 0
    assert lines[-5:-1] == [
        "cub200",
        "  train             4,690 images of      80 classes",
        "  validation        1,174 images of      20 classes",
        "  test              5,924 images of     100 classes",
    ]
    assert lines[-1].startswith("  cache cub200      11,788 images     16 x 16   9.66 MB  ")


def publish(monkeypatch: pytest.MonkeyPatch, url: str, content: bytes | None = None) -> None:
    """Let CUB-200 be published there, with 400 images."""
    (archive,) = cub200.CUB200.archives
    if content is not None:
        archive = dataclasses.replace(archive, md5=hashlib.md5(content).hexdigest(), size_bytes=len(content))
    expected = {"train": Count(200, 100), "test": Count(200, 100)}
    archives = (dataclasses.replace(archive, urls=(url,)),)
    monkeypatch.setattr(cub200, "CUB200", dataclasses.replace(cub200.CUB200, expected=expected, archives=archives))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_published_data_set_is_downloaded_and_unpacked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(write_cub200(tmp_path / "published", [2] * 200, "linked"), "CUB_200_2011")
    with serving() as server:
        server.files["CUB_200_2011.tgz"] = packed.getvalue()
        publish(monkeypatch, server.url("CUB_200_2011.tgz"), packed.getvalue())
        code, lines = run(capsys, "prepare", "cub200", "--root", "new", *SMALL)
    assert code == 0
    ended = [line.partition(": ")[0] for line in lines if re.search(r"(\S+) of \1$", line)]
    assert ended == [
        *("downloading CUB_200_2011.tgz", "checking CUB_200_2011.tgz", "unpacking CUB_200_2011.tgz"),
        *("cub200", "cub200"),
    ]
    assert lines[-4] == "  train               160 images of      80 classes"
    assert len(list((tmp_path / "new" / "CUB_200_2011" / "images").glob("*/*.jpg"))) == 400


def test_without_a_network_it_says_which_file_to_put_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(monkeypatch, "http://127.0.0.1:9/CUB_200_2011.tgz")  # where nothing listens
    code, (line,) = run(capsys, "prepare", "cub200", "--root", "new")
    assert code == 2
    for part in (
        "error: cannot download CUB_200_2011.tgz of CUB-200-2011",
        f"put it there, and start again: {tmp_path}/new/CUB_200_2011.tgz (1.15 GB, MD5 ",
        "http://127.0.0.1:9/CUB_200_2011.tgz",
    ):
        assert part in line


def test_a_data_set_without_a_public_address(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, (line,) = run(capsys, "prepare", "inshop", "--root", "new")
    assert code == 2
    assert f"{tmp_path}/new/list_eval_partition.txt, {tmp_path}/new/img.zip" in line
    write_inshop(tmp_path / "new", [2, 2], [1, 1], [1, 1])
    code, (line,) = run(capsys, "prepare", "inshop", "--root", "new")
    assert code == 2
    assert "train has 4 images of 2 classes and should have 25,882 images of 3,997 classes" in line


def test_glyphs_need_nothing(
    capsys: pytest.CaptureFixture[str], glyph_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDR_TUNE_CACHE", str(glyph_cache))  # rendered by another test, perhaps
    code, lines = run(capsys, "prepare", "glyphs")
    assert code == 0
    assert lines == [
        "glyphs",
        "  train             8,304 images of     692 classes",
        "  validation        2,484 images of     207 classes",
        "  test              5,820 images of     485 classes",
    ]


SIZES = """
name: sizes
trial: {data: {name: folder, root: own, resize: 16, image_size: 16, validation: {folds: 2}}}
space: {data.resize: {choice: [16, 24]}}
"""


def test_all_data_sets_of_a_sweep_file(capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SIZES)
    code, lines = run(capsys, "prepare", "--space", "sweep.yaml")
    assert code == 0
    assert [line for line in lines if "train" in line] == [
        "  train                12 images of       4 classes",  # half of the eight
        "  train                12 images of       4 classes",
    ]
    assert sum("decoding" in line for line in lines) == 4  # each once, begin and end
    assert [path.name.split("-")[1] for path in caches(tmp_path)] == ["16px", "24px"]


def test_a_key_of_the_sweep_file_can_be_set(capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SIZES.replace("root: own", "root: elsewhere"))
    changes = ("--set", "root=own", "--set", "validation.fold=1", "--set", "resize=24")
    code, lines = run(capsys, "prepare", "--space", "sweep.yaml", *changes)
    assert code == 0
    assert lines[0] == "note: data.resize is fixed by --set and no longer searched"
    assert [line.split()[1] for line in lines if "train" in line] == ["12"]
    assert "-24px-" in caches(tmp_path)[0].name


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("prepare folder --set root=elsewhere#2", "data.root: there is no folder TMP/elsewhere#2"),
        ("prepare table --file t.csv --set label_column=2024", """in quotes: --set 'label_column="2024"'"""),
        ("prepare folder --root own --set fraction=0.3", "Did you mean test.fraction or validation.fraction? Known"),
        (
            "prepare folder --root own --set cache=off",
            "--set cache: expected true or false, got 'off' (text): write false",
        ),
        ("prepare", "give the NAME of a data set (such as cub200), or --space FILE"),
        ("prepare folder --space sweep.yaml", "give the NAME of a data set (such as cub200), or --space FILE"),
        ("prepare cub", "NAME: unknown data 'cub'. Did you mean 'cub200'? Known: glyphs, cub200,"),
        ("prepare folder", "--root: is missing"),
        ("prepare table", "--file: is missing"),
        ("prepare folder --root", "argument --root: expected one argument"),
        ("prepare folder --root elsewhere", "data.root: there is no folder TMP/elsewhere"),
        ("prepare folder --root sweep.yaml", "data.root: there is no folder TMP/sweep.yaml"),
        ("prepare table --file own.csv", "data.file: there is no file TMP/own.csv"),
        ("prepare glyphs --root own", "--root: unknown key. Known here: name, validation."),
        ("prepare cub200 --file own.csv", "--file: unknown key. Known here: cache, corrupt,"),
        ("prepare cub200 --set resise=64", "--set resise: unknown key. Did you mean 'resize'?"),
        ("prepare cub200 --set resize", "--set resize: expected KEY=VALUE, such as --set resize=128"),
        ("prepare cub200 --set =3", "--set =3: expected KEY=VALUE"),
        ("prepare cub200 --set validation={a", "--set validation={a: '{a' is not a YAML value"),
        ("prepare cub200 --set validation={a:1,a:2}", "--set validation"),
        ("prepare cub200 --set resize=big", "--set resize: expected a whole number, got 'big' (text)"),
        ("prepare cub200 --set resize=128 --set image_size=224", "--set image_size: 224 is more than resize (128)"),
        ("prepare cub200 --set resize=7", "--set resize: must be greater than or equal to 8, got 7"),
        ("prepare glyphs --set resize=128", "--set resize: unknown key"),
        ("prepare cub200 --set validation.fraction=1", "--set validation.fraction: must be less than 1"),
        ("prepare --space nowhere.yaml", "nowhere.yaml: no such file"),
        ("prepare --space sweep.yaml", "sweep.yaml:3: trial.data.root: there is no folder TMP/own"),
        ("prepare --space sweep.yaml --set resise=1", "--set trial.data.resise=1: trial.data.resise: unknown key."),
        ("prepare --space sweep.yaml --root own", "--root goes with a NAME; with --space, which names them all, use"),
        ("prepare --space sweep.yaml --file own.csv", "--file goes with a NAME; with --space"),
        ("delete", "invalid choice: 'delete' (choose from"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: str, expected: str
) -> None:
    (tmp_path / "sweep.yaml").write_text(SIZES)
    code, lines = run(capsys, *arguments.split())
    assert code == 2
    assert expected.replace("TMP", str(tmp_path)) in lines[-1]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "sweep.yaml"]


def test_corrupt_images_are_refused_by_name_and_leave_no_cache(
    capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path
) -> None:
    truncate(own / "class_4" / "1.png")
    (own / "class_7" / "0.png").write_bytes(b"")
    code, lines = run(capsys, "prepare", "folder", "--root", "own", *SMALL)
    assert code == 2
    assert lines == [
        "error: data.corrupt: 2 of 36 images cannot be decoded: class_4/1.png (truncated), class_7/0.png (empty file); "
        "mend or delete them, or set data.corrupt: skip"
    ]
    left = {path.suffix for path in (tmp_path / "cache" / "images").iterdir()}
    assert left == {".lock", ".json"}  # and the hash of the files, which is found again


def test_corrupt_images_are_skipped_on_demand(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, own: Path
) -> None:
    truncate(own / "class_4" / "1.png")
    code, lines = run(capsys, "prepare", "folder", "--root", "own", *SMALL, "--set", "corrupt=skip")
    assert code == 0
    assert sum(int(line.split()[1]) for line in lines[-4:-1]) == 35
    assert lines[-1].startswith("  cache folder          35 images")
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 36 images cannot be decoded: class_4/1.png (truncated); they are left out (data.corrupt: skip)"
    ]


def test_a_cache_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    for arguments in (["prepare", "folder", "--root", "own"], ["list"], ["verify"]):
        code, (line,) = run(capsys, *arguments)
        assert code == 2
        assert line.startswith(f"error: cannot write to the cache folder {tmp_path}/cache (")


def test_what_the_system_refuses_is_told_with_the_data_set(
    capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path, glyph_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDR_TUNE_CACHE", str(glyph_cache))
    run(capsys, "prepare", "glyphs")
    (rendered,) = glyph_cache.glob("glyphs-*.arrow")
    monkeypatch.setattr(open_data, "_opened", {})
    monkeypatch.setenv("MDR_TUNE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / f"{rendered.name}.lock").mkdir(parents=True)
    code, lines = run(capsys, "prepare", "glyphs")
    assert code == 2
    assert lines[-1].startswith("error: data: glyphs cannot be prepared: [Errno 21] Is a directory")


def test_lists_and_checks_caches(capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path) -> None:
    nothing = (0, [f"no caches of images below {tmp_path}/cache"])
    assert run(capsys, "list") == nothing
    assert run(capsys, "verify") == nothing
    assert not (tmp_path / "cache").exists()
    run(capsys, "prepare", "folder", "--root", "own", *SMALL)
    run(capsys, "prepare", "folder", "--root", "own", "--set", "resize=24", "--set", "image_size=24")
    small, large = caches(tmp_path)
    code, lines = run(capsys, "list")
    assert code == 0
    assert lines[0] == f"caches below {tmp_path}/cache; a cache that is deleted is made again when it is needed"
    assert [line.split()[-1] for line in lines[1:]] == [str(small), str(large)]
    assert all(line.startswith("  cache folder          36 images     ") for line in lines[1:])
    assert run(capsys, "verify") == (0, [f"{path}: 36 images, intact" for path in (small, large)])


def test_a_damaged_cache_is_found_and_the_others_are_still_checked(
    capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path
) -> None:
    for size in (8, 16, 24):
        run(capsys, "prepare", "folder", "--root", "own", "--set", f"resize={size}", "--set", f"image_size={size}")
    short, wrong, intact = sorted(caches(tmp_path), key=lambda path: path.stat().st_size)
    short.write_bytes(short.read_bytes()[:-100])
    content = bytearray(wrong.read_bytes())
    content[len(content) // 2] ^= 1  # a bit of an image in the middle
    wrong.write_bytes(content)
    code, lines = run(capsys, "verify")
    assert code == 1
    by_file = {path: next(line for line in lines if str(path) in line) for path in (short, wrong, intact)}
    assert len(lines) == 3
    assert by_file[short].startswith(f"{short} is damaged (")
    assert by_file[short].endswith("delete it, it is built anew when it is needed")
    assert re.fullmatch(rf"{wrong}: 36 images, 1 damaged, such as class_\d/\d.png: delete it", by_file[wrong])
    assert by_file[intact] == f"{intact}: 36 images, intact"
    code, lines = run(capsys, "list")
    assert code == 0
    assert [re.sub(" +", " ", line) for line in lines if str(short) in line] == [
        f" cache folder damaged 8 x 8 {short.stat().st_size / 1000:.3g} kB {short}"
    ]


def test_what_cannot_be_read_and_what_is_unfinished_is_listed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    images = tmp_path / "cache" / "images"
    images.mkdir(parents=True)
    part, gone = images / "sop-16px-01.arrow.x_1.tmp", images / "sop-8px-01.arrow"
    part.write_bytes(bytes(1500))
    assert run(capsys, "list")[1][1:] == [f"  unfinished, removed by the next build:    1.5 kB  {part}"]
    gone.symlink_to("nowhere")  # as a file that is deleted after its name was seen
    code, lines = run(capsys, "list")
    assert code == 0
    assert lines[1].startswith("  cache sop      unreadable (no such file or directory) ")
    assert lines[1].endswith(str(gone))
    assert run(capsys, "verify") == (
        1,
        [f"{gone} is unreadable (no such file or directory): see who may read it, and whether it is still there"],
    )


def test_a_small_size_needs_no_other_key(capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path) -> None:
    assert run(capsys, "prepare", "folder", "--root", "own", "--set", "resize=128")[0] == 0
    assert "-128px-" in caches(tmp_path)[0].name


COMMAND = """
import sys
from mdr_tune.cli.main import main
sys.exit(main(["data", "prepare", "folder", "--root", sys.argv[1], "--set", "resize=16", "--set", "duplicates=keep"]))
"""


@pytest.mark.parametrize(
    ("number", "sigint_is_ignored"),
    [
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),  # as in the background of a shell
        (signal.SIGINT, False),
        (signal.SIGHUP, False),
    ],
)
def test_a_signal_ends_a_build_and_leaves_nothing(
    number: signal.Signals, sigint_is_ignored: bool, own: Path, tmp_path: Path
) -> None:
    wide = own / "class_0" / "wide.bmp"
    Image.effect_noise((2000, 2000), 50).save(wide)
    for class_id in range(12):
        for image in range(3, 9):
            os.link(wide, own / f"class_{class_id}" / f"{image}.bmp")
    wide.unlink()
    ignored = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if sigint_is_ignored else None
    arguments = [sys.executable, "-c", COMMAND, str(own)]
    with subprocess.Popen(arguments, preexec_fn=ignored, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            parts: list[Path] = []

            def writes() -> bool:
                assert process.poll() is None
                parts[:] = (tmp_path / "cache" / "images").glob("*.arrow.*.tmp")
                return bool(parts)

            wait_for(writes, "a cache", every_s=0.005)
            os.kill(process.pid, number)
            _, errors = process.communicate(timeout=HANG_S)
        finally:
            process.kill()
    assert (process.returncode, errors.decode()) == (1, "interrupted\n")
    assert len(parts) == 1
    assert {path.suffix for path in (tmp_path / "cache" / "images").iterdir()} == {".lock", ".json"}


def test_odd_images_are_no_noise(own: Path, tmp_path: Path) -> None:
    palette = Image.effect_noise((20, 20), 50).convert("RGB").quantize(16)
    palette.save(own / "class_0" / "0.png", transparency=bytes(range(16)))
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, str(own)], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_is_left_with_the_result_alone(own: Path) -> None:
    output = io.StringIO()
    arguments = make_parser().parse_args(["data", "prepare", "folder", "--root", "own", *SMALL])
    assert arguments.run(arguments, Console(file=output, force_terminal=True, width=80)) == 0
    bars, result = output.getvalue().rsplit("\x1b[2K", 1)  # where the bars were erased
    assert re.search("folder: decoding images .*36 of 36", bars)
    assert re.sub(r"\x1b\[[0-9;]*m", "", result).split("\n")[:2] == [
        "folder",
        "  train                18 images of       6 classes",
    ]


@pytest.mark.parametrize("name", ["run #2", "a: b", "*run", "50%20", "@eaDir2", "run "])
def test_a_folder_is_the_one_that_was_named(capsys: pytest.CaptureFixture[str], own: Path, name: str) -> None:
    own.rename(own.parent / name)
    shutil.copytree(own.parent / name / "class_0", own.parent / "run" / "class_0")  # what a comment would leave
    code, lines = run(capsys, "prepare", "folder", *SMALL, "--set", f"root={own.parent / name}")
    assert code == 0
    assert "  train                18 images of       6 classes" in lines
