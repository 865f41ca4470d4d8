"""A folder of images of one's own."""

from pathlib import Path

from tests.data.published.layouts import picture


def write_pictures(folder: Path) -> None:
    """Write twelve classes of five images: of these, 6 classes are for training, 2 for validation."""
    for class_id in range(12):
        (folder / f"class_{class_id:02d}").mkdir(parents=True)
        for number in range(5):
            picture(5 * class_id + number).save(folder / f"class_{class_id:02d}" / f"{number}.jpg")
