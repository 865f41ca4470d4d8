"""Stanford Online Products (Oh Song et al., CVPR 2016): photographs of products for sale. A class is one product.

The archive holds Ebay_train.txt and Ebay_test.txt (header `image_id class_id super_class_id path`), and images named
<super class>_final/*.JPG. Train and test have no class in common.
"""

from pathlib import Path

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES
from mdr_tune.data.listings.listing import BOTH, Listing
from mdr_tune.data.published.benchmark import Archive, Benchmark, Count, find_home
from mdr_tune.data.published.text_list import read_list

_TITLE = "Stanford Online Products"
_HOMES = ("", "Stanford_Online_Products")
_COLUMNS = ("image_id", "class_id", "super_class_id", "path")


def read(root: Path) -> Listing:
    """List the images of a copy of the data set, in the order of Ebay_train.txt and then of Ebay_test.txt.

    Classes are in the order of their ids. A class is named after its super class and its id, such as `bicycle_1`.
    `root` is the folder Stanford_Online_Products, or a folder that holds it. A missing or wrong copy is a UserError.
    """
    home = find_home("sop", _TITLE, root, _HOMES, ("Ebay_train.txt", "Ebay_test.txt"))
    train = read_list(home / "Ebay_train.txt", _COLUMNS, header_line=1)
    test = read_list(home / "Ebay_test.txt", _COLUMNS, header_line=1)
    paths = train["path"] + test["path"]
    official_ids, first_images, class_ids = np.unique(
        np.concatenate([train.integers("class_id"), test.integers("class_id")]), return_index=True, return_inverse=True
    )
    super_classes = [paths[image].partition("/")[0].removesuffix("_final") for image in first_images]
    return Listing(
        root=home,
        paths=paths,
        class_ids=class_ids.astype(np.int64),
        class_names=tuple(f"{name}_{number}" for name, number in zip(super_classes, official_ids, strict=True)),
        splits=np.repeat(
            np.array([SPLIT_NAMES.index("train"), SPLIT_NAMES.index("test")], dtype=np.int8), [len(train), len(test)]
        ),
        roles=np.full(len(paths), BOTH, dtype=np.int8),
    )


SOP = Benchmark(
    name="sop",
    title=_TITLE,
    read=read,
    expected={"train": Count(59_551, 11_318), "test": Count(60_502, 11_316)},
    archives=(
        Archive(
            name="Stanford_Online_Products.zip",
            makes=("Stanford_Online_Products", "Ebay_train.txt"),
            # The second is the URL of the authors of MDR; the first is the same host over HTTP, which can resume.
            urls=(
                "http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
                "ftp://cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
            ),
            md5="7f73d41a2f44250d4779881525aea32e",
            size_bytes=3_083_860_082,
        ),
    ),
    homes=_HOMES,
    by_hand="Its page is https://cvgl.stanford.edu/projects/lifted_struct/",
)
