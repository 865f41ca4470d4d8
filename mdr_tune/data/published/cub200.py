"""CUB-200-2011 (Wah et al., 2011): birds, classes 1 to 100 for training and 101 to 200 for testing.

The archive holds images.txt (`image_id path`), image_class_labels.txt (`image_id class_id`), classes.txt
(`class_id name`), and images/<class>/*.jpg. Metric learning does not use train_test_split.txt, which puts images of
each class into both splits.
"""

from pathlib import Path

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES
from mdr_tune.data.listings.listing import BOTH, Listing
from mdr_tune.data.published.benchmark import Archive, Benchmark, Count, find_home
from mdr_tune.data.published.text_list import read_list

_TITLE = "CUB-200-2011"
_HOMES = ("", "CUB_200_2011")
_TRAINING_CLASSES = 100  # Oh Song et al., CVPR 2016 (arXiv 1511.06452), and all since


def read(root: Path) -> Listing:
    """List the images of a copy of the data set, in the order of images.txt. Classes are in the order of classes.txt.

    `root` is the folder CUB_200_2011, or a folder that holds it. A missing or wrong copy is a UserError.
    """
    home = find_home("cub200", _TITLE, root, _HOMES, ("images.txt",))
    images = read_list(home / "images.txt", ("image_id", "path"))
    labels = read_list(home / "image_class_labels.txt", ("image_id", "class_id"))
    classes = read_list(home / "classes.txt", ("class_id", "name"))
    for row, (image, label) in enumerate(zip(images["image_id"], labels["image_id"], strict=False)):
        if image != label:
            raise labels.error(row, f"expected image {image}, as in {images.path.name}, found {label}")
    if len(images) != len(labels):
        longer = max(images, labels, key=len)
        raise longer.error(min(len(images), len(labels)), "the other list of images ends before this line: unpack anew")
    ids = classes.integers("class_id")
    if len(wrong := np.flatnonzero(ids != np.arange(1, len(ids) + 1))):
        raise classes.error(wrong[0], f"expected class {wrong[0] + 1}, found {ids[wrong[0]]}")
    class_ids = labels.integers("class_id") - 1
    if len(wrong := np.flatnonzero((class_ids < 0) | (class_ids >= len(ids)))):
        raise labels.error(wrong[0], f"class {class_ids[wrong[0]] + 1} is not in {classes.path.name}")
    names = classes["name"]
    for row, (path, class_id) in enumerate(zip(images["path"], class_ids.tolist(), strict=True)):
        if not path.startswith(names[class_id] + "/"):
            raise labels.error(row, f"class {class_id + 1} is {names[class_id]}, but the image is {path}")
    return Listing(
        root=home,
        paths=tuple(f"images/{path}" for path in images["path"]),
        class_ids=class_ids,
        class_names=names,
        splits=np.where(class_ids < _TRAINING_CLASSES, SPLIT_NAMES.index("train"), SPLIT_NAMES.index("test")).astype(
            np.int8
        ),
        roles=np.full(len(images), BOTH, dtype=np.int8),
    )


CUB200 = Benchmark(
    name="cub200",
    title=_TITLE,
    read=read,
    expected={"train": Count(5_864, 100), "test": Count(5_924, 100)},
    archives=(
        Archive(
            name="CUB_200_2011.tgz",
            makes=("CUB_200_2011", "images.txt"),
            # Caltech's present URL of the file. The one that the authors gave, at www.vision.caltech.edu, is gone.
            urls=("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",),
            md5="97eceeb196236b17998738112f37df78",
            size_bytes=1_150_585_339,
        ),
    ),
    homes=_HOMES,
    by_hand="Its page is https://www.vision.caltech.edu/datasets/cub_200_2011/",
)
