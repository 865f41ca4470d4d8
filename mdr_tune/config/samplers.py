"""The samplers that a sweep file may name. A sampler draws the trials of a study. To add a sampler, add a class here.

`mdr_tune.search.seeded_sampler` asks the sampler for each trial. A sweep file is checked before Optuna is imported, so
a sampler imports Optuna when it draws.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mdr_tune.config.domains import Space
from mdr_tune.config.space import grid_points, is_conditional

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial

MAX_RANDOM_TRIALS = 10


@dataclass(frozen=True)
class StudyToSample:
    """The properties of an Optuna study that a sampler may use.

    Attributes:
        trials: Number of trials that the study will have.
        given: Number of trials at its beginning whose values are given by `start_from`.
        seed: Seed of the whole study. A sampler's methods get the seed of each trial as an argument.
        space: Search space of the arm.
    """

    trials: int
    given: int
    seed: int
    space: Space

    @property
    def startup(self) -> int:
        """Number of trials that are drawn at random before a model is fitted: a third of all trials, at most 10."""
        return min(MAX_RANDOM_TRIALS, max(1, self.trials // 3))


class Sampler:
    """Draw the trials of a study. A trial depends only on its seed and on the trials before it.

    Attributes:
        has_one_objective: True if the sampler cannot take a second metric.
        lists_all: True if the sampler tries every combination of the choices once, and draws nothing at random.
        needs_two_numbers: True if every trial must have all parameters, and at least two of them must be ranges.
    """

    name: ClassVar[str]
    has_one_objective: ClassVar[bool] = False
    lists_all: ClassVar[bool] = False
    needs_two_numbers: ClassVar[bool] = False

    def __init__(self, study: StudyToSample) -> None:
        self._of = study

    def fresh(self, seed: int) -> "BaseSampler":
        """Return a new Optuna sampler with this `seed`. It draws the parameters that `together` does not draw."""
        from optuna.samplers import RandomSampler

        return RandomSampler(seed)

    def together(self, seed: int, study: "Study", trial: "FrozenTrial", attempt: int) -> dict[str, Any]:
        """Return values of jointly drawn parameters of `trial`, by name. The caller draws the others one by one.

        `study` has the earlier trials. `attempt` is the number of rejected draws of `trial`; `seed` is for this draw.
        """
        sampler = self.fresh(seed)
        return sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))


class TPE(Sampler):
    """Tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011).

    With one objective, all parameters are modelled together; with two, each by itself (Optuna's defaults). A space with
    conditional parameters, which exist only in trials that take a certain choice, is the exception. There, parameters
    that occur in the same trials are modelled together, for one objective or two.
    """

    name = "tpe"

    def fresh(self, seed: int) -> "BaseSampler":
        """Return Optuna's TPE sampler."""
        from optuna.samplers import TPESampler

        from mdr_tune.util.quiet_optuna import without_warnings

        together: dict[str, Any] = {"group": True, "multivariate": True} if is_conditional(self._of.space) else {}
        with without_warnings():
            return TPESampler(seed=seed, n_startup_trials=self._of.startup, **together)


class GP(Sampler):
    """A Gaussian process that maximises expected improvement; with two objectives, expected hypervolume improvement.

    The process is fitted to the completed trials, and models the parameters that all of these trials have.
    """

    name = "gp"

    def fresh(self, seed: int) -> "BaseSampler":
        """Return Optuna's Gaussian process sampler."""
        from optuna.samplers import GPSampler

        from mdr_tune.util.quiet_optuna import without_warnings

        with without_warnings():
            return GPSampler(seed=seed, n_startup_trials=self._of.startup, warn_independent_sampling=False)


class Random(Sampler):
    """Uniform random values. Each parameter is drawn by itself, and `loguniform` ranges are drawn log-uniformly."""

    name = "random"


class QMC(Sampler):
    """Points of one scrambled Sobol sequence over all parameters, including those of choices that are not taken.

    If a point repeats an earlier trial, it is rejected, and the next attempt takes the next point.

    Optuna's own QMC sampler is not used for two reasons. It stores the next point's index in the study, so that a crash
    loses points. It takes the parameters' names from the first trial, which may lack conditional parameters.
    """

    name = "qmc"

    def together(self, seed: int, study: "Study", trial: "FrozenTrial", attempt: int) -> dict[str, Any]:
        """Return the point of the sequence for `trial`: its index is the number of earlier drawn trials plus `attempt`.

        Trials of `study` whose values the user gave use no point. `attempt` is the number of rejected draws.
        """
        before = study.get_trials(deepcopy=False)[: trial.number]
        others = min(self._of.given, trial.number) + sum(map(was_enqueued, before))
        return self._point(trial.number - others + attempt)

    def _point(self, index: int) -> dict[str, Any]:
        import numpy as np
        from scipy.stats.qmc import Sobol  # takes a while to import

        from mdr_tune.config.distributions import distributions_of, value_at

        distributions = distributions_of(self._of.space)
        sequence = Sobol(len(distributions), scramble=True, rng=np.random.default_rng(self._of.seed))
        if index > 0:  # fast_forward(0) overflows
            sequence.fast_forward(index)
        names = sorted(distributions)
        return {name: value_at(distributions[name], u) for name, u in zip(names, sequence.random(1)[0], strict=True)}


class CmaEs(Sampler):
    """CMA-ES (Hansen, 2016). Its distribution is stored with the trials of the study. Choices are drawn at random."""

    name = "cmaes"
    has_one_objective = True
    needs_two_numbers = True

    def fresh(self, seed: int) -> "BaseSampler":
        """Return Optuna's CMA-ES sampler."""
        from optuna.samplers import CmaEsSampler

        from mdr_tune.util.quiet_optuna import without_warnings

        with without_warnings():
            return CmaEsSampler(seed=seed, consider_pruned_trials=True, warn_independent_sampling=False)


class Grid(Sampler):
    """Every combination of the choices, one after another."""

    name = "grid"
    lists_all = True

    def __init__(self, study: StudyToSample) -> None:
        super().__init__(study)
        self._points = grid_points(study.space)

    def together(self, seed: int, study: "Study", trial: "FrozenTrial", attempt: int) -> dict[str, Any]:
        """Return the combination `trial.number` of the grid: values by parameter. Other arguments are not used."""
        return self._points[trial.number]


SAMPLERS = {sampler.name: sampler for sampler in Sampler.__subclasses__()}
if TYPE_CHECKING:
    SamplerName = str
else:
    SamplerName = Literal[tuple(SAMPLERS)]


def was_enqueued(trial: "FrozenTrial") -> bool:
    """Return whether a user put the point of `trial` into the study with `Study.enqueue_trial`."""
    return "fixed_params" in trial.system_attrs
