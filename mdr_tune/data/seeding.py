"""Derive a seed for each of several independent random streams from the seed of a trial, by hashing."""

import hashlib
import operator


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2**63) that depends on all `parts`, in order, and on nothing else.

    By convention, the first part names the code that uses the seed, as in `derive_seed("sampler", seed, epoch)`. So the
    random numbers of a trial's sampler and of its augmentation are unrelated. The seed is the upper 63 bits of an
    8-byte BLAKE2b digest of the parts, each with its type and length. Unlike `hash()`, it is the same in all processes.

    Raises:
        TypeError: a part is neither an integer nor a string.
        ValueError: there are no parts.

    Example:
        >>> derive_seed("sampler", 0, 1) == derive_seed("sampler", 1, 0)
        False
    """
    if not parts:
        raise ValueError("derive_seed needs at least one part, e.g. derive_seed('sampler', seed, epoch)")
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        kind, text = ("s", part) if isinstance(part, str) else ("i", str(operator.index(part)))
        encoded = text.encode()
        digest.update(f"{kind}{len(encoded)}:".encode() + encoded)
    return int.from_bytes(digest.digest(), "big") >> 1
