"""In-Shop Clothes Retrieval, of DeepFashion (Liu et al., CVPR 2016): a class is one garment.

The folder holds list_eval_partition.txt, at the top or in Eval/, and img/, at the top or in Img/. The list begins with
the number of images and a header. Then it has a line `image_name item_id evaluation_status` for each image. Each image
of a test class is either a query or part of the gallery.
"""

from pathlib import Path

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES
from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY, Listing
from mdr_tune.data.published.benchmark import Archive, Benchmark, Count, find_home
from mdr_tune.data.published.text_list import TextList, read_list
from mdr_tune.util.errors import UserError

_TITLE = "In-Shop Clothes Retrieval"
_HOMES = (
    "",
    "Inshop",  # name in the code of the authors of MDR
    "In-shop Clothes Retrieval Benchmark",  # name in the publisher's shared folder
    "In-shop",
    "In-Shop",
    "inshop",
    "in-shop",
    "Inshop_Clothes",
)
_LISTS = ("list_eval_partition.txt", "Eval/list_eval_partition.txt")
_STATUS = {
    "train": (SPLIT_NAMES.index("train"), BOTH),
    "query": (SPLIT_NAMES.index("test"), QUERY),
    "gallery": (SPLIT_NAMES.index("test"), GALLERY),
}


def read(root: Path) -> Listing:
    """List the images of a copy of the data set, in the order of its list. Classes are in the order of their item ids.

    `root` is the folder of the data set, or a folder that holds it. A missing or wrong copy is a UserError.
    """
    home = find_home("inshop", _TITLE, root, _HOMES, _LISTS)
    images = read_list(
        next(home / name for name in _LISTS if (home / name).is_file()),
        ("image_name", "item_id", "evaluation_status"),
        header_line=2,
    )
    _check_length(images)
    items, class_ids = np.unique(np.array(images["item_id"], dtype=np.str_), return_inverse=True)
    for row, status in enumerate(images["evaluation_status"]):
        if status not in _STATUS:
            raise images.error(row, f"evaluation_status must be one of {', '.join(_STATUS)}, found {status!r}")
    split_and_role = np.array([_STATUS[status] for status in images["evaluation_status"]], dtype=np.int8).reshape(-1, 2)
    above = "" if (home / "img").is_dir() or not (home / "Img" / "img").is_dir() else "Img/"
    return Listing(
        root=home,
        paths=tuple(above + path for path in images["image_name"]),
        class_ids=class_ids.astype(np.int64),
        class_names=tuple(items.tolist()),
        splits=split_and_role[:, 0],
        roles=split_and_role[:, 1],
    )


def _check_length(images: TextList) -> None:
    announced = images.preamble[0].strip()
    if not announced.isdecimal():
        raise UserError(f"data.root: {images.path}, line 1: expected the number of images, found {announced!r}")
    if int(announced) != len(images):
        raise UserError(
            f"data.root: {images.path} announces {int(announced):,} images in line 1 and lists {len(images):,}: "
            "the file was cut short or changed; get it anew"
        )


INSHOP = Benchmark(
    name="inshop",
    title=_TITLE,
    read=read,
    expected={"train": Count(25_882, 3_997), "query": Count(14_218, 3_985), "gallery": Count(12_612, 3_985)},
    archives=(
        Archive(name="list_eval_partition.txt", makes=_LISTS),
        Archive(name="img.zip", makes=("img", "Img/img"), lies_in=("", "Img")),
    ),
    homes=_HOMES,
    by_hand=(
        "It has no plain download: its page https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html "
        "leads to a shared folder, in which these are Eval/list_eval_partition.txt and Img/img.zip"
    ),
)
