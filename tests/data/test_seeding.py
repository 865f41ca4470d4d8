import numpy as np
import pytest

from mdr_tune.data import derive_seed


def test_value_is_stable() -> None:
    # A change of this number changes every batch of every recorded trial.
    assert derive_seed("sampler", 0, 1) == 4_669_959_998_236_173_514


def test_fits_63_bits_and_depends_on_every_part_and_their_order() -> None:
    seeds = {derive_seed(purpose, a, b) for purpose in ("sampler", "augment") for a in range(9) for b in range(9)}
    assert len(seeds) == 2 * 9 * 9
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_parts_do_not_run_into_each_other() -> None:
    assert len({derive_seed(1, 23), derive_seed(12, 3), derive_seed("1", 23), derive_seed("123")}) == 4


def test_numpy_integers_count_as_integers_and_floats_do_not() -> None:
    assert derive_seed(np.int64(3)) == derive_seed(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        derive_seed(3.0)  # type: ignore[arg-type]


def test_no_parts_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        derive_seed()
