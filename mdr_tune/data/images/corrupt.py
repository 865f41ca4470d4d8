"""What is said about images that cannot be decoded."""

from collections.abc import Sequence
from typing import Literal

from mdr_tune.util.errors import UserError

Corrupt = Literal["refuse", "skip"]

_NAMED = 20  # a message names as many


def refuse_corrupt(errors: Sequence[tuple[str, str]], total: int, corrupt: Corrupt, skipping_needs: str = "") -> None:
    """Raise a UserError that names the corrupt images, unless they may be skipped and others are left.

    Args:
        errors: path and reason of each, at least one.
        total: number of images, the corrupt ones among them.
        corrupt: `data.corrupt`.
        skipping_needs: what else has to be set for them to be skipped.
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
    """Return how many images are corrupt, and the first of them with their reasons."""
    named = ", ".join(f"{path} ({reason})" for path, reason in errors[:_NAMED])
    more = f" and {len(errors) - _NAMED:,} more" if len(errors) > _NAMED else ""
    return f"{len(errors):,} of {total:,} images cannot be decoded: {named}{more}"
