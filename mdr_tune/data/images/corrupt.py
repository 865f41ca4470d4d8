"""Make error messages about images that cannot be decoded."""

from collections.abc import Sequence
from typing import Literal

from mdr_tune.util.errors import UserError

Corrupt = Literal["refuse", "skip"]

_NAMED = 20  # images that a message names at most


def refuse_corrupt(errors: Sequence[tuple[str, str]], total: int, corrupt: Corrupt, skipping_needs: str = "") -> None:
    """Raise a UserError that names the corrupt images.

    Args:
        errors: path and reason of each corrupt image; there is at least one.
        total: number of all images, corrupt ones included.
        corrupt: value of `data.corrupt`. With "skip", the error is raised only if all images are corrupt.
        skipping_needs: setting that skipping requires, such as `data.cache: true`, for the message; empty if none.
    """
    if corrupt == "refuse":
        condition = f", which needs {skipping_needs}" if skipping_needs else ""
        way_out = f"mend or delete them, or set data.corrupt: skip{condition}"
    elif len(errors) == total:
        way_out = "none would be left, so they cannot be skipped; see whether data.root is the right folder"
    else:
        return
    raise UserError(f"data.corrupt: {finding(errors, total)}; {way_out}")


def finding(errors: Sequence[tuple[str, str]], total: int) -> str:
    """Return text for a message: how many of `total` images are corrupt, and the first `errors` (paths and reasons)."""
    named = ", ".join(f"{path} ({reason})" for path, reason in errors[:_NAMED])
    more = f" and {len(errors) - _NAMED:,} more" if len(errors) > _NAMED else ""
    return f"{len(errors):,} of {total:,} images cannot be decoded: {named}{more}"
