"""The samplers that a file may name: how the trials of a study are drawn. To add one, add a class here.

`mdr_tune.search.seeded_sampler` asks one of them for each trial. A file is checked before Optuna is imported, so each
imports it when it draws.
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
    """What a sampler may know of a study.

    Attributes:
        trials: Number of trials that it is to have.
        given: Number of trials whose values are given, the first ones.
        seed: Seed of all of the study. A trial's own seed comes with it.
        space: What is searched.
    """

    trials: int
    given: int
    seed: int
    space: Space

    @property
    def startup(self) -> int:
        """Trials that are drawn at random before a model is made of them: a third, at most 10."""
        return min(MAX_RANDOM_TRIALS, max(1, self.trials // 3))


class Sampler:
    """Draws the trials of a study, each as a function of its seed and of the trials before it.

    Attributes:
        name: what a file calls it.
        has_one_objective: whether it cannot take a second metric.
        lists_all: whether it tries every combination of the choices once, and draws nothing.
        needs_two_numbers: whether it takes only spaces of at least two ranges that every trial has.
    """

    name: ClassVar[str]
    has_one_objective: ClassVar[bool] = False
    lists_all: ClassVar[bool] = False
    needs_two_numbers: ClassVar[bool] = False

    def __init__(self, study: StudyToSample) -> None:
        self._of = study

    def fresh(self, seed: int) -> "BaseSampler":
        """Return a new sampler of Optuna's that draws from this seed: what is not drawn together, at least."""
        from optuna.samplers import RandomSampler

        return RandomSampler(seed)

    def together(self, seed: int, study: "Study", trial: "FrozenTrial", attempt: int) -> dict[str, Any]:
        """Draw the parameters of a trial that are drawn together; each other one is then drawn by itself.

        Args:
            seed: Of the trial and the attempt.
            study: With the trials before it.
            trial: To be drawn.
            attempt: How often it was drawn in vain before.
        """
        sampler = self.fresh(seed)
        return sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))


class TPE(Sampler):
    """Tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011).

    With one objective of all parameters together, as Optuna's default is. With conditional parameters too: those that
    occur together are modelled together.
    """

    name = "tpe"

    def fresh(self, seed: int) -> "BaseSampler":
        """Return Optuna's."""
        from optuna.samplers import TPESampler

        from mdr_tune.util.quiet_optuna import without_warnings

        together: dict[str, Any] = {"group": True, "multivariate": True} if is_conditional(self._of.space) else {}
        with without_warnings():
            return TPESampler(seed=seed, n_startup_trials=self._of.startup, **together)


class GP(Sampler):
    """A Gaussian process and the expected improvement of its hypervolume, where there are two objectives.

    It learns from trials that came to their end, and of the parameters that all of them have.
    """

    name = "gp"

    def fresh(self, seed: int) -> "BaseSampler":
        """Return Optuna's."""
        from optuna.samplers import GPSampler

        from mdr_tune.util.quiet_optuna import without_warnings

        with without_warnings():
            return GPSampler(seed=seed, n_startup_trials=self._of.startup, warn_independent_sampling=False)


class Random(Sampler):
    """Each parameter by itself, evenly over its range."""

    name = "random"


class QMC(Sampler):
    """Points of one scrambled Sobol sequence over all parameters, those of choices not taken too.

    What an earlier trial had is passed over: another attempt is the next point.

    Optuna's own counts in the study which point comes next, so that a crash loses points, and it takes its parameters
    from the first trial, which may lack some.
    """

    name = "qmc"

    def together(self, seed: int, study: "Study", trial: "FrozenTrial", attempt: int) -> dict[str, Any]:
        """Return the next point."""
        before = study.get_trials(deepcopy=False)[: trial.number]
        others = min(self._of.given, trial.number) + sum(map(was_enqueued, before))
        return self._point(trial.number - others + attempt)

    def _point(self, index: int) -> dict[str, Any]:
        import numpy as np
        from scipy.stats.qmc import Sobol  # takes a while to import

        from mdr_tune.config.distributions import distributions_of, value_at

        distributions = distributions_of(self._of.space)
        sequence = Sobol(len(distributions), scramble=True, rng=np.random.default_rng(self._of.seed))
        if index > 0:  # 0 overflows
            sequence.fast_forward(index)
        names = sorted(distributions)
        return {name: value_at(distributions[name], u) for name, u in zip(names, sequence.random(1)[0], strict=True)}


class CmaEs(Sampler):
    """CMA-ES (Hansen, 2016). Its distribution is kept in the study, with the trials; choices are drawn at random."""

    name = "cmaes"
    has_one_objective = True
    needs_two_numbers = True

    def fresh(self, seed: int) -> "BaseSampler":
        """Return Optuna's."""
        from optuna.samplers import CmaEsSampler

        from mdr_tune.util.quiet_optuna import without_warnings

        with without_warnings():
            return CmaEsSampler(seed=seed, consider_pruned_trials=True, warn_independent_sampling=False)


class Grid(Sampler):
    """The combinations of a grid, in order."""

    name = "grid"
    lists_all = True

    def __init__(self, study: StudyToSample) -> None:
        super().__init__(study)
        self._points = grid_points(study.space)

    def together(self, seed: int, study: "Study", trial: "FrozenTrial", attempt: int) -> dict[str, Any]:
        """Return the trial's combination."""
        return self._points[trial.number]


SAMPLERS = {sampler.name: sampler for sampler in Sampler.__subclasses__()}
if TYPE_CHECKING:
    SamplerName = str
else:
    SamplerName = Literal[tuple(SAMPLERS)]


def was_enqueued(trial: "FrozenTrial") -> bool:
    """Say whether a user's point was put into the study for this trial, as `Study.enqueue_trial` marks it."""
    return "fixed_params" in trial.system_attrs
