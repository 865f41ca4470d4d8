"""What a user writes: one trial (`trial`), the search space (`space`), one sweep (`sweep`), and its YAML (`load`).

Pydantic only: neither torch nor ray is imported when these modules are.
"""
