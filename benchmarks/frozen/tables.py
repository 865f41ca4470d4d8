"""What is printed, and the lines for `make bench`."""

from dataclasses import dataclass
from statistics import median

from rich.console import Console
from summary.rows import Row

from frozen import making, steps
from frozen.search import EPOCHS, ITERATIONS_PER_EPOCH, Search

AIM_STEPS = 100
"""Times as many steps a second as end to end."""
AIM_MAKING = 0.87
"""Of the bare pass's speed: at most 1.15 times its time."""
AIM_TRIALS, AIM_MINUTES = 300, 30
AIM_LAST = 0.9
"""No slower at the end than at the start, but for what trials differ by chance."""


@dataclass(frozen=True)
class Measured:
    """What came out.

    Attributes:
        images: Images of a round whose features are made.
        size: Height and width of the images, in pixels.
        making_s: Seconds of each round, ours and the bare pass's.
        difference: Of the features of both, relative to the largest.
        step_s: Seconds a step of each round, on kept features and end to end.
        losses: Of the first step of both.
        search: The launch.
    """

    images: int
    size: int
    making_s: tuple[list[float], list[float]]
    difference: float
    step_s: tuple[list[float], list[float]]
    losses: tuple[float, float]
    search: Search

    def differences(self) -> list[str]:
        """Return what the two sides computed differently, as sentences."""
        found = []
        if not self.difference <= making.TOLERANCE:
            found.append(f"the features differ by {self.difference:.2g} of the largest")
        ours, theirs = self.losses
        if not abs(ours - theirs) <= steps.TOLERANCE * abs(theirs):
            found.append(f"the losses of the first step differ: {ours}, {theirs}")
        return found


def rows(measured: Measured) -> list[Row]:
    """Return the lines of the table of `make bench`."""
    search, trials = measured.search, len(measured.search.ended_s)
    ours, bare = (measured.images / median(seconds) for seconds in measured.making_s)
    kept, whole = (1 / median(seconds) for seconds in measured.step_s)
    making_what = f"features of {measured.images:,} images of {measured.size} px by resnet18"
    what = "training the head alone on kept features of resnet18, batch 128"
    against = f"the same trial end to end, {measured.size} px"
    number = f"{EPOCHS * ITERATIONS_PER_EPOCH} steps"
    launch = f"launch of {AIM_TRIALS} head-only trials of {number}, TPE, MLflow"
    launch += "" if trials >= AIM_TRIALS else f", extrapolated from {trials}"
    minutes = search.expected_s(max(AIM_TRIALS, trials)) / 60
    return [
        Row(making_what, "a bare forward pass", "images/s", ours, bare, more_is_better=True, aim=AIM_MAKING),
        Row(what, against, "steps/s", kept, whole, more_is_better=True, aim=AIM_STEPS),
        Row(launch, "", "min", minutes, aim=AIM_MINUTES, aim_is="at most"),
        Row(
            f"a head-only trial of {number}, last tenth of {trials}",
            "the first tenth",
            "s",
            search.last_s,
            search.first_s,
            aim=AIM_LAST,
        ),
    ]


def print_details(console: Console, measured: Measured) -> None:
    """Print all rounds, and whether both sides computed the same."""
    for label, sides in (("features, s", measured.making_s), ("steps, ms", measured.step_s)):
        scale = 1000 if label.endswith("ms") else 1
        for side, seconds in zip(("ours", "theirs"), sides, strict=True):
            each = ", ".join(f"{scale * value:.4g}" for value in seconds)
            console.print(f"rounds of {label}, {side}: {each}", style="dim")
    search = measured.search
    console.print(
        f"launch of {len(search.ended_s)} trials: {search.whole_s:.1f} s, of which {search.ended_s[-1]:.1f} from the "
        f"first trial's start to the last one's end; features differ by {measured.difference:.1e} of the largest, "
        f"first losses: {measured.losses[0]:.6f}, {measured.losses[1]:.6f}",
        style="dim",
        soft_wrap=True,
    )
    for sentence in measured.differences():
        console.print(sentence, style="red")
