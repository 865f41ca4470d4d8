"""Small listings, written as a reader sees them."""

from pathlib import Path

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES
from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY, Listing

ROLES = {"both": BOTH, "query": QUERY, "gallery": GALLERY}


def listing_of(*images: str) -> Listing:
    """Make a listing of `SPLIT CLASS` or `SPLIT CLASS ROLE` for each image; the files are 0.png, 1.png, ..."""
    rows = [[*image.split(), "both"][:3] for image in images]
    names = sorted({name for _, name, _ in rows})
    return Listing(
        root=Path("pictures"),
        paths=tuple(f"{index}.png" for index in range(len(rows))),
        class_ids=np.array([names.index(name) for _, name, _ in rows], dtype=np.int64),
        class_names=tuple(names),
        splits=np.array([SPLIT_NAMES.index(split) for split, _, _ in rows], dtype=np.int8),
        roles=np.array([ROLES[role] for _, _, role in rows], dtype=np.int8),
    )


def written(listing: Listing) -> list[str]:
    """Return what `listing_of` would make `listing` of, roles only where they are not `both`."""
    role_names = {value: name for name, value in ROLES.items()}
    texts = []
    for class_id, split, role in zip(listing.class_ids, listing.splits, listing.roles, strict=True):
        text = f"{SPLIT_NAMES[split]} {listing.class_names[class_id]}"
        texts.append(text if role == BOTH else f"{text} {role_names[role]}")
    return texts
