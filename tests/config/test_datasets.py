"""What a file may say of its data and of their augmentation."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mdr_tune.config.datasets import Dataset, Published, read_data
from mdr_tune.config.explain import explain
from mdr_tune.config.space import section_variants
from mdr_tune.config.strict_model import members
from mdr_tune.config.sweep_reading import read_sweep
from mdr_tune.config.trial import TrialConfig
from mdr_tune.util.errors import UnknownName, UserError

CUB = {"name": "cub200", "root": "/data"}


def problem(data: Any, **trial: Any) -> str:
    """Return `key: message` of the only thing that is wrong."""
    with pytest.raises(ValidationError) as caught:
        TrialConfig.model_validate({"data": data, **trial})
    ((path, message),) = explain(caught.value, TrialConfig)
    return f"{'.'.join(path)}: {message}"


@pytest.mark.parametrize("name", ["glyphs", "cub200", "cars196", "sop", "inshop"])
def test_a_name_is_enough(name: str) -> None:
    config = TrialConfig.model_validate({"data": name})
    assert config.data.name == name
    assert TrialConfig.model_validate(config.model_dump()) == config


NAMES = ["glyphs", "cub200", "cars196", "sop", "inshop", "folder", "table", "features"]


def test_every_data_set_can_be_named() -> None:
    assert list(members(Dataset)) == NAMES
    own = {"folder": {"root": "a"}, "table": {"file": "a.csv"}, "features": {"file": "a.parquet"}}
    for name in NAMES:
        assert TrialConfig.model_validate({"data": {"name": name, **own.get(name, {})}}).data.name == name


def test_an_unknown_data_set_lists_the_known_ones() -> None:
    known = (
        r"unknown data set 'glyph'\. Did you mean 'glyphs'\? "
        "Known: cars196, cub200, features, folder, glyphs, inshop, sop, table"
    )
    with pytest.raises(UnknownName, match=known):
        read_data("glyph")
    with pytest.raises(ValidationError) as caught:
        TrialConfig.model_validate({"data": "glyph"})
    ((path, message),) = explain(caught.value, TrialConfig)
    assert (path, message) == (
        ("data", "name"),
        f"unknown data 'glyph'. Did you mean 'glyphs'? Known: {', '.join(NAMES)}, package.module:name.",
    )


@pytest.mark.parametrize("name", ["cub200", "cars196", "sop", "inshop"])
def test_a_published_data_set_has_one_name(name: str) -> None:
    data = read_data(name)
    assert isinstance(data, Published)
    assert data.benchmark().name == name


def test_the_settings_of_the_paper_are_the_default() -> None:
    config = TrialConfig.model_validate({"data": "cub200"})
    flat = config.flat()
    assert (flat["data.resize"], flat["data.image_size"]) == (256, 224)
    assert {key: value for key, value in flat.items() if key.startswith("augmentation.")} == {
        "augmentation.name": "random_resized_crop",
        "augmentation.scale": [0.16, 1.0],
        "augmentation.ratio": [0.75, 1.33],
        "augmentation.flip": 0.5,
        "augmentation.interpolation": "lanczos",
    }
    assert config.data.source_arguments() == {
        "root": str(Path("datasets").absolute()),
        "recall_ks": [1, 2, 4, 8],
        "resize": 256,
        "cache": True,
        "corrupt": "refuse",
        "validation": {"fraction": 0.2, "seed": 0},
    }


@pytest.mark.parametrize(
    ("given", "resize", "image_size"),
    [
        ({}, 256, 224),
        ({"image_size": 64}, 73, 64),
        ({"image_size": 256}, 293, 256),
        ({"image_size": 2048}, 2048, 2048),
        ({"resize": 64}, 64, 56),
        ({"resize": 8}, 8, 8),
        ({"resize": 256, "image_size": 64}, 256, 64),
        ({"resize": "auto", "image_size": 112}, 128, 112),
    ],
)
def test_one_size_follows_from_the_other(given: dict[str, Any], resize: int, image_size: int) -> None:
    config = TrialConfig.model_validate({"data": {**CUB, **given}})
    for same in (config, TrialConfig.model_validate(config.model_dump())):
        assert (same.data.chosen_resize, same.data.chosen_image_size) == (resize, image_size)
        assert (same.flat()["data.resize"], same.flat()["data.image_size"]) == (resize, image_size)
        assert same.data.source_arguments()["resize"] == resize


VIT, BOTH = "timm.vit_small_patch16_224", "[timm.vit_small_patch16_224, timm.vit_tiny_patch16_224]"


@pytest.mark.parametrize(
    ("data", "backbone", "space", "expected"),
    [
        ("{name: folder, root: a}", VIT, "{}", (224, 248, "bicubic")),
        ("{name: table, file: a.csv, resize: auto}", "{name: timm.resnet10t}", "{}", (176, 201, "bicubic")),
        ("{name: folder, root: a}", "conv4", f"{{backbone: {BOTH}}}", (224, 248, "bicubic")),
        ("{name: folder, root: a, interpolation: lanczos}", VIT, "{}", (224, 248, "lanczos")),
        ("{name: folder, root: a}", VIT, "{data.interpolation: [lanczos, bilinear]}", (224, 248, "lanczos")),
        ("{name: folder, root: a}", "tests.own_components:Sized", "{}", (40, 46, "lanczos")),
        # as before
        ("{name: folder, root: a, image_size: 224}", VIT, "{}", (224, 256, "lanczos")),
        ("{name: folder, root: a}", VIT, "{data.resize: [256, 288]}", (224, 256, "lanczos")),
        ("{name: folder, root: a}", VIT, f"{{backbone: [{VIT}, timm.resnet10t]}}", (224, 256, "lanczos")),
        ("{name: folder, root: a}", "resnet18", "{}", (224, 256, "lanczos")),
        ("cub200", VIT, "{}", (224, 256, "lanczos")),
    ],
)
def test_own_images_have_the_size_and_filter_of_the_network_s_configuration(
    tmp_path: Path, data: str, backbone: str, space: str, expected: tuple[int, int, str]
) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(f"name: a\ntrial: {{data: {data}, backbone: {backbone}}}\nspace: {space}\n")
    sweep, notes = read_sweep(file, [])
    assert read_sweep(file, ["trial.data.image_size=40", "space={}"])[0].trial.data.chosen_image_size == 40
    recorded = TrialConfig.model_validate(sweep.trial.model_dump())  # as a worker, a rerun or a resumed sweep reads it
    for trial in (sweep.trial, recorded):
        images = trial.data
        assert (images.chosen_image_size, images.chosen_resize, images.chosen_interpolation) == expected
        assert trial.chosen_augmentation.arguments()["interpolation"] == expected[2]
    said = [note for note in notes if "the file sets no size of images" in note]
    assert len(said) == (expected[:2] != (224, 256))


def test_a_recorded_trial_without_sizes_has_those_of_then() -> None:
    recorded = {"data": {"name": "folder", "root": "/a", "resize": "auto", "image_size": "auto"}, "backbone": VIT}
    trial = TrialConfig.model_validate(recorded)
    assert (trial.data.chosen_image_size, trial.data.chosen_resize, trial.data.chosen_interpolation) == (
        224,
        256,
        "lanczos",
    )
    assert "interpolation" not in trial.data.model_dump()


def test_a_searched_size_takes_the_other_with_it(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("name: a\ntrial: {data: cub200}\nspace: {data.image_size: {choice: [112, 224]}}\n")
    sweep, notes = read_sweep(file, [])
    sizes = [
        (data.chosen_resize, data.chosen_image_size) for data in section_variants(sweep.trial, sweep.space, "data")
    ]
    assert sizes == [(128, 112), (256, 224)]
    (note,) = notes
    assert note.startswith("images are brought to 128 to 256 pixels, as data.image_size has it, and each such size")
    assert read_sweep(file, ["trial.data.resize=256", "space.data.image_size={choice: [208, 224]}"])[1] == []


def test_a_part_of_the_picture_that_is_small_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "name: a\ntrial: {data: {name: cub200, resize: 256}}\nspace: {data.image_size: {choice: [64, 205]}}\n"
    )
    (note,) = read_sweep(file, [])[1]
    assert note.startswith("an evaluation sees the middle 64 x 64 of 256 x 256 pixels, 25% of width and height: ")
    (note,) = read_sweep(file, ["trial.data.image_size=204"])[1][1:]
    assert note.startswith("an evaluation sees the middle 204 x 204")


def test_the_paper_s_larger_setting_sees_all_of_a_picture() -> None:
    sweep, notes = read_sweep(Path(__file__).parents[2] / "search_spaces" / "paper_cub200_256.yaml", [])
    assert (sweep.trial.data.chosen_resize, sweep.trial.data.chosen_image_size, notes) == (256, 256, [])


def test_a_path_may_look_like_an_address_if_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:\\b").mkdir()
    data = TrialConfig.model_validate({"data": {"name": "folder", "root": "a:\\b"}}).data
    assert data.arguments()["root"] == str(tmp_path / "a:\\b")
    data = TrialConfig.model_validate({"data": {"name": "folder", "root": "~nobody_of_this_name/b"}}).data
    assert data.arguments()["root"] == str(tmp_path / "~nobody_of_this_name/b")


def test_recall_is_measured_at_the_ranks_of_the_paper() -> None:
    assert {name: read_data(name).recall_ks for name in ("cub200", "cars196", "sop", "inshop")} == {
        "cub200": (1, 2, 4, 8),
        "cars196": (1, 2, 4, 8),
        "sop": (1, 10, 100, 1000),
        "inshop": (1, 10, 20, 30, 40),
    }


def test_glyphs_are_augmented_as_ever() -> None:
    assert TrialConfig().flat()["augmentation.name"] == "affine"
    assert TrialConfig().data.source_arguments() == {}


def test_a_table_s_paths_start_at_its_folder() -> None:
    data = TrialConfig.model_validate({"data": {"name": "table", "file": "shop/products.csv"}}).data
    assert data.source_arguments()["file"] == str(Path("shop/products.csv").absolute())
    assert data.source_arguments()["root"] == str(Path("shop").absolute())
    assert data.source_arguments()["recall_ks"] == [1, 2, 4, 8]


def test_off_is_text_and_false_is_its_fix(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("name: a\ntrial: {data: {name: cub200, cache: off}}\n")
    with pytest.raises(UserError, match=r"trial.data.cache: expected true or false, got 'off' .text.: write false$"):
        read_sweep(file, [])
    assert read_sweep(file, ["trial.data.cache=false"])[0].trial.data.arguments()["cache"] is False


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("cub", "data.name: unknown data 'cub'. Did you mean 'cub200'? Known: glyphs, cub200, cars196, sop, inshop"),
        ({"name": "folder"}, "data.root: is missing"),
        ({"name": "table"}, "data.file: is missing"),
        ({"name": "glyphs", "image_size": 64}, "data.image_size: unknown key. Known here: name, validation."),
        ({**CUB, "image_size": 257, "resize": 256}, "data.image_size: 257 is more than resize (256)"),
        ({**CUB, "image_size": 224, "resize": 128}, "data.image_size: 224 is more than resize (128)"),
        ({**CUB, "image_size": 3000}, "data.image_size: must be less than or equal to 2048, got 3000"),
        ({**CUB, "resize": "large"}, "data.resize: expected a whole number, got 'large' (text)"),
        (
            {"name": "folder", "root": "s3://b/images"},
            "data.root: s3://b/images is an address, and files are read from",
        ),
        ({"name": "table", "file": "s3://b/t.csv"}, "data.file: s3://b/t.csv is an address"),
        ({"name": "folder", "root": "file:///data"}, "data.root: file:///data is an address"),
        ({"name": "folder", "root": "C:\\images"}, "data.root: C:\\images is a path of Windows: write where"),
        ({"name": "folder", "root": "$HOME/images"}, "data.root: $HOME/images begins with a variable"),
        ({**CUB, "corrupt": "skip", "cache": False}, "data.corrupt: skip needs the cache"),
        ({**CUB, "corrupt": "ignore"}, "data.corrupt: expected 'refuse' or 'skip', got 'ignore'"),
        ({**CUB, "validation": {"fraction": 1.0}}, "data.validation.fraction: must be less than 1"),
        ({**CUB, "validation": {"folds": 5, "fold": 5}}, "data.validation.fold: 5 is none of 0 .. 4"),
        ({**CUB, "validation": {"folds": 1}}, "data.validation.folds: must be greater than or equal to 2"),
        ({**CUB, "validation": {"fold": 1}}, "data.validation.folds: is missing"),
        ({**CUB, "validation": {"parts": 5}}, "data.validation.parts: unknown key."),
        ({**CUB, "test": {"fraction": 0.5}}, "data.test: unknown key."),
        ({"name": "folder", "root": "a", "recall_at": []}, "data.recall_at:"),
    ],
)
def test_mistakes_name_the_key_and_the_fix(data: Any, expected: str) -> None:
    assert expected in problem(data)


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        ("crop", "augmentation.name: unknown augmentation 'crop'."),
        ({"name": "random_resized_crop", "scale": [1, 0.2]}, "augmentation.scale: expected [least, largest]"),
        ({"name": "random_resized_crop", "scale": [0.2, 1.2]}, "augmentation.scale.1: must be less than or equal to 1"),
        ({"name": "random_resized_crop", "ratio": [0.75]}, "augmentation.ratio:"),
        ({"name": "affine", "flip": 0.5}, "augmentation.flip: unknown key."),
    ],
)
def test_mistakes_in_the_augmentation(augmentation: Any, expected: str) -> None:
    assert expected in problem(CUB, augmentation=augmentation)


@pytest.mark.parametrize(
    ("space", "key"),
    [
        ("data.validation.fold: {choice: [0, 1, 2]}", "space.data.validation.fold: trials of a sweep are compared on"),
        ("data.root: {choice: [/a, /b]}", "space.data.root: trials of a sweep are compared on the same images"),
        ("data: {choice: [sop, cub200]}", "space.data: trials of a sweep are compared on the same images"),
        ("data.image_size: {choice: [128, 224]}", None),
        ("data.resize: {choice: [256, 288]}", None),
    ],
)
def test_trials_are_compared_on_the_same_images(tmp_path: Path, space: str, key: str | None) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(f"name: a\ntrial: {{data: {{name: cub200, validation: {{folds: 3}}}}}}\nspace: {{{space}}}\n")
    if key is None:
        sweep, _ = read_sweep(file, [])
        assert len(section_variants(sweep.trial, sweep.space, "data")) == 2
        return
    with pytest.raises(UserError, match=f"sweep.yaml:3: {key}"):
        read_sweep(file, [])


@pytest.mark.parametrize(
    ("data", "metric", "expected"),
    [
        ("sop", "val/recall_at_1000", None),
        (
            "sop",
            "val/recall_at_2",
            "metric: val/recall_at_2 is not measured on sop: there val/recall_at_1, val/recall_",
        ),
        ("inshop", "val/recall_at_30", None),
        ("glyphs", "val/recall_at_10", "metric: val/recall_at_10 is not measured on glyphs"),
    ],
)
def test_the_metric_must_be_measured(tmp_path: Path, data: str, metric: str, expected: str | None) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(f"name: a\nmetric: {metric}\ntrial: {{data: {data}}}\n")
    if expected is None:
        assert read_sweep(file, [])[0].metric == metric
        return
    with pytest.raises(UserError, match=expected):
        read_sweep(file, [])
