"""Writers of the data sets' exact layouts on disk, with small pictures.

Pictures are numbered as their writer goes, from 0. Number n has the pixels of `picture(n)`, so that a test can tell
which one it was given: it is a file of its own with `pictures="each"`; with "linked" files are hard links of
one (the next 30,000 of another), and with "none" there are only the lists, which makes full-size copies quick.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.io
from PIL import Image

Pictures = Literal["each", "linked", "none"]
Size = tuple[int, int]
SMALL: Size = (40, 30)  # width and height, in pixels

_MOST_LINKS = 30_000  # ext4 allows 65,000 names of one file

SUPER_CLASSES = (  # of Stanford Online Products, in the order of their ids
    "bicycle",
    "cabinet",
    "chair",
    "coffee_maker",
    "fan",
    "kettle",
    "lamp",
    "mug",
    "sofa",
    "stapler",
    "table",
    "toaster",
)


def picture(number: int, size: Size = SMALL) -> Image.Image:
    """Return picture `number`: a few coloured patches that depend on it alone, smoothed."""
    patches = np.random.default_rng(number).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def spread(total: int, parts: int) -> list[int]:
    """Return `parts` whole numbers that add up to `total` and differ by at most one."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def write_pictures(paths: Iterable[Path], pictures: Pictures = "each", size: Size = SMALL) -> None:
    """Write pictures 0, 1, .. as JPEG files."""
    if pictures == "none":
        return
    folders: set[Path] = set()
    first: Path | None = None
    for number, path in enumerate(paths):
        if path.parent not in folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.add(path.parent)
        if pictures == "linked" and first is not None and number % _MOST_LINKS:
            os.link(first, path)
        else:
            picture(number, size).save(path, "JPEG", quality=90)
            first = path


def write_cub200(root: Path, per_class: list[int], pictures: Pictures = "each", size: Size = SMALL) -> Path:
    """Write `root/CUB_200_2011` with `per_class[i]` images of class i + 1, and return it."""
    home = root / "CUB_200_2011"
    home.mkdir(parents=True)
    names = [f"{number:03d}.Bird_{chr(ord('a') + number % 26)}" for number in range(1, len(per_class) + 1)]
    images = [
        (class_id, f"{name}/{name[4:]}_{number:04d}_{number * 37 + class_id}.jpg")
        for class_id, (name, many) in enumerate(zip(names, per_class, strict=True), 1)
        for number in range(1, many + 1)
    ]
    (home / "classes.txt").write_text("".join(f"{number} {name}\n" for number, name in enumerate(names, 1)))
    (home / "images.txt").write_text("".join(f"{number} {path}\n" for number, (_, path) in enumerate(images, 1)))
    (home / "image_class_labels.txt").write_text(
        "".join(f"{number} {class_id}\n" for number, (class_id, _) in enumerate(images, 1))
    )
    (home / "train_test_split.txt").write_text("".join(f"{number} {number % 2}\n" for number in range(1, len(images))))
    write_pictures((home / "images" / path for _, path in images), pictures, size)
    return home


def full_cub200() -> list[int]:
    """Return images of each class such that there are as many as in the original."""
    return spread(5_864, 100) + spread(5_924, 100)


def write_cars196(root: Path, per_class: list[int], pictures: Pictures = "each", size: Size = SMALL) -> Path:
    """Write the layout with cars_annos.mat and car_ims, class after class, into `root`, and return it."""
    root.mkdir(parents=True, exist_ok=True)
    classes = [class_id for class_id, many in enumerate(per_class, 1) for _ in range(many)]
    files = [f"car_ims/{number:06d}.jpg" for number in range(1, len(classes) + 1)]
    annotations = _structs(
        relative_im_path=files,
        **{corner: [7] * len(files) for corner in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")},
        **{"class": classes, "test": [number % 2 for number in range(len(files))]},
    )
    _save(root / "cars_annos.mat", {"annotations": annotations, "class_names": _cells(_car_names(len(per_class)))})
    write_pictures((root / file for file in files), pictures, size)
    return root


def write_cars196_devkit(root: Path, per_class: list[int], pictures: Pictures = "each", size: Size = SMALL) -> Path:
    """Write the devkit's layout into `root`, with the labelled test annotations beside it, and return `root`.

    Classes come in turn; every second image is one of the devkit's test images.
    """
    (root / "devkit").mkdir(parents=True)
    left, classes = list(per_class), []
    while any(left):
        for index, many in enumerate(left):
            if many:
                classes.append(index + 1)
                left[index] -= 1
    _save(root / "devkit" / "cars_meta.mat", {"class_names": _cells(_car_names(len(per_class)))})
    paths = []
    for folder, part, path in (
        ("cars_train", classes[::2], root / "devkit" / "cars_train_annos.mat"),
        ("cars_test", classes[1::2], root / "cars_test_annos_withlabels.mat"),
    ):
        files = [f"{number:05d}.jpg" for number in range(1, len(part) + 1)]
        corners = {corner: [7] * len(part) for corner in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")}
        _save(path, {"annotations": _structs(**corners, **{"class": part, "fname": files})})
        if folder == "cars_test":
            _save(root / "devkit" / "cars_test_annos.mat", {"annotations": _structs(**corners, fname=files)})
        paths += [root / folder / file for file in files]
    write_pictures(paths, pictures, size)
    return root


def full_cars196() -> list[int]:
    """Return images of each class such that there are as many as in the original."""
    return spread(8_054, 98) + spread(8_131, 98)


def _save(path: Path, content: dict[str, np.ndarray]) -> None:
    scipy.io.savemat(path, content, do_compression=True)  # as MATLAB does


def _car_names(classes: int) -> list[str]:
    return [f"Make{number % 7} Model {number} Sedan {1990 + number % 23}" for number in range(1, classes + 1)]


def _structs(**fields: list[object]) -> np.ndarray:
    """Return a MATLAB struct array, 1 x n."""
    structs = np.empty((1, len(next(iter(fields.values())))), dtype=[(name, object) for name in fields])
    for name, values in fields.items():
        structs[name][0] = values
    return structs


def _cells(values: list[str]) -> np.ndarray:
    """Return a MATLAB cell array of strings, 1 x n."""
    cells = np.empty((1, len(values)), dtype=object)
    cells[0] = values
    return cells


def write_sop(root: Path, train: list[int], test: list[int], pictures: Pictures = "each", size: Size = SMALL) -> Path:
    """Write `root/Stanford_Online_Products`, and return it.

    Args:
        root: where.
        train: images of each training class; their ids are 1, 2, ...
        test: images of each test class; their ids go on from there.
        pictures: see above.
        size: of the pictures.
    """
    home = root / "Stanford_Online_Products"
    home.mkdir(parents=True)
    paths = []
    for name, per_class, first_class in (("train", train, 1), ("test", test, 1 + len(train))):
        lines = ["image_id class_id super_class_id path"]
        for class_id, many in enumerate(per_class, first_class):
            super_class = (class_id - 1) % len(SUPER_CLASSES)
            for number in range(many):
                path = f"{SUPER_CLASSES[super_class]}_final/{251000000000 + 811 * class_id}_{number}.JPG"
                paths.append(path)
                lines.append(f"{len(paths)} {class_id} {super_class + 1} {path}")
        (home / f"Ebay_{name}.txt").write_text("\n".join(lines) + "\n")
    write_pictures((home / path for path in paths), pictures, size)
    return home


def full_sop() -> tuple[list[int], list[int]]:
    """Return images of each training and test class such that there are as many as in the original."""
    return spread(59_551, 11_318), spread(60_502, 11_316)


def write_inshop(
    root: Path,
    train: list[int],
    query: list[int],
    gallery: list[int],
    pictures: Pictures = "each",
    size: Size = SMALL,
    list_folder: str = "",
    image_folder: str = "",
) -> Path:
    """Write the In-Shop layout into `root`, and return it.

    Training and test items take turns, as far as there are both.

    Args:
        root: where.
        train: images of each training item.
        query: query images of each test item.
        gallery: gallery images of each test item.
        pictures: see above.
        size: of the pictures.
        list_folder: where list_eval_partition.txt is, `Eval` for instance.
        image_folder: where img/ is, `Img` for instance.
    """
    turns = [("train", index) for index in range(len(train))] + [("test", index) for index in range(len(query))]
    turns.sort(key=lambda turn: (turn[1], turn[0] == "test"))
    rows = []
    for item, (kind, index) in enumerate(turns, 1):
        counts = {"train": train[index]} if kind == "train" else {"query": query[index], "gallery": gallery[index]}
        statuses = [status for status, many in counts.items() for _ in range(many)]
        for number, status in enumerate(statuses, 1):
            name = f"img/WOMEN/Tees_Tanks/id_{item:08d}/{number:02d}_1_front.jpg"
            rows.append(f"{name:<70} id_{item:08d}    {status}")
    (root / list_folder).mkdir(parents=True, exist_ok=True)
    header = f"{len(rows)}\nimage_name item_id evaluation_status\n"
    (root / list_folder / "list_eval_partition.txt").write_text(header + "".join(f"{row}\n" for row in rows))
    write_pictures((root / image_folder / row.split()[0] for row in rows), pictures, size)
    return root


def full_inshop() -> tuple[list[int], list[int], list[int]]:
    """Return images of each training and test item such that there are as many as in the original."""
    return spread(25_882, 3_997), spread(14_218, 3_985), spread(12_612, 3_985)
