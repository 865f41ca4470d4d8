"""What a progress looks like: on a terminal, and in a pipe or a log."""

import io
import re

import pytest
from rich.console import Console

from mdr_tune.cli.progress_bars import progress_bars


def in_a_pipe(*told: tuple[str, int, int]) -> list[str]:
    output = io.StringIO()
    with progress_bars(Console(file=output, width=30)) as progress:
        for what, done, total in told:
            progress(what, done, total)
    return output.getvalue().splitlines()


def on_a_terminal(width: int, *told: tuple[str, int, int]) -> tuple[list[str], str]:
    """Return the bars as they are last drawn, and what the terminal is sent after that."""
    output = io.StringIO()
    with progress_bars(Console(file=output, force_terminal=True, width=width)) as progress:
        for what, done, total in told:
            progress(what, done, total)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue())
    last, _, after = plain.rpartition("\n")
    return re.split(r"\r|\x1b\[\d*[A-Z]", last)[-1].splitlines()[-len({what for what, _, _ in told}) :], after


def test_a_pipe_gets_a_line_where_something_begins_and_ends() -> None:
    told = [("folder: decoding images", done, 1200) for done in (0, 300, 600, 1200)]
    assert in_a_pipe(*told, told[-1]) == [
        "folder: decoding images: 0 of 1,200",
        "folder: decoding images: 1,200 of 1,200",
    ]


def test_what_is_first_heard_of_in_its_middle_has_begun() -> None:
    assert in_a_pipe(("a", 5, 20), ("a", 6, 20), ("b", 7, 7), ("a", 20, 20)) == [
        "a: 5 of 20",
        "b: 7 of 7",
        "a: 20 of 20",
    ]


def test_without_a_total_there_is_a_line_all_the_same() -> None:
    assert in_a_pipe(("downloading [a].zip", 5, 0), ("downloading [a].zip", 9, 0)) == ["downloading [a].zip"]


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_what_and_how_many_and_the_time_left(width: int) -> None:
    bars, after = on_a_terminal(
        width, ("cub200: decoding images", 4_000, 11_788), ("downloading CUB_200_2011.tgz", 575_000_000, 1_150_585_339)
    )
    assert re.fullmatch(r"cub200: decoding images +[━╸╺ ]+ 4,000 of 11,788 +-:--:--", bars[0])
    assert re.fullmatch(r"downloading CUB_200_2011.tgz [━╸╺ ]+ 575 of 1,151 million -:--:--", bars[1])
    assert all(len(bar) <= width for bar in bars)
    assert after.endswith("\x1b[1A\x1b[2K")  # erased


def test_a_terminal_shows_what_has_come_where_the_total_is_not_known() -> None:
    ((bar,), _) = on_a_terminal(80, ("downloading a.zip", 12_000_000, 0))
    assert re.fullmatch(r"downloading a.zip [━╸╺ ]+ 12 million *", bar)
