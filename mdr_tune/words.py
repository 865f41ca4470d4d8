"""Small helpers for sentences that people read."""


def count(number: int, unit: str) -> str:
    """Return the number with its unit in the right form: `1 lane`, `2 lanes`."""
    return f"{number} {unit}" + ("" if number == 1 else "s")
