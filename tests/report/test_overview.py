"""Several sweeps beside each other."""

from dataclasses import replace

from mdr_tune.report.ablation import ablation_table
from mdr_tune.report.overview import overview
from mdr_tune.report.rows import AblationTable
from tests.report.make_evidence import make_evidence


def one_row_a_method(data: str, sweep: str = "paper") -> AblationTable:
    table = ablation_table(make_evidence(sweep=sweep))
    return replace(table, data=data, rows=[row for row in table.rows if row.name.endswith("-002")])


def test_methods_by_data_set_and_recall() -> None:
    tables = [one_row_a_method("cub200", "paper_cub"), one_row_a_method("cars196", "paper_cars")]
    found = overview(tables)
    assert found is not None
    assert found.methods == ["triplet + MDR", "triplet", "triplet_l2"]
    assert [(c.sweep, c.data, c.metric) for c in found.columns] == [
        (f"paper_{sweep}", data, f"test/recall_at_{k}")
        for sweep, data in (("cub", "cub200"), ("cars", "cars196"))
        for k in (1, 2, 4, 8)
    ]
    assert found.cells[1][5] == tables[1].rows[1].estimates["test/recall_at_2"]
    assert all(len(row) == 8 for row in found.cells)


def test_a_method_that_a_sweep_lacks_leaves_its_cells_empty() -> None:
    tables = [one_row_a_method("cub200"), one_row_a_method("cars196")]
    tables[1] = replace(tables[1], rows=tables[1].rows[:2])
    found = overview(tables)
    assert found is not None
    assert found.cells[2][:4] == [tables[0].rows[2].estimates[f"test/recall_at_{k}"] for k in (1, 2, 4, 8)]
    assert found.cells[2][4:] == [None] * 4


def test_the_same_data_twice_is_told_apart() -> None:
    found = overview([one_row_a_method("cub200", "a"), one_row_a_method("cub200", "b")])
    assert found is not None
    assert list(dict.fromkeys(column.data for column in found.columns)) == ["cub200 (a)", "cub200 (b)"]


def test_where_it_makes_no_sense_there_is_none() -> None:
    one = one_row_a_method("cub200")
    assert overview([]) is None
    assert overview([one]) is None
    assert overview([one, ablation_table(make_evidence())]) is None  # two settings a method
    assert overview([replace(one, rows=one.rows[:1]), replace(one, rows=one.rows[1:])]) is None
    assert overview([replace(one, rows=[]), replace(one, rows=[])]) is None


def test_protocols_that_differ_stand_above_the_columns() -> None:
    cub, cars = one_row_a_method("cub200"), one_row_a_method("cars196")
    same = overview([cub, cars])
    assert same is not None
    assert same.protocols == ["validation", "validation"]
    assert list(dict.fromkeys(column.data for column in same.columns)) == ["cub200", "cars196"]
    mixed = overview([cub, replace(cars, protocol="paper")])
    assert mixed is not None
    assert mixed.protocols == ["validation", "paper"]
    assert list(dict.fromkeys(column.data for column in mixed.columns)) == [
        "cub200, protocol: validation",
        "cars196, protocol: paper",
    ]
