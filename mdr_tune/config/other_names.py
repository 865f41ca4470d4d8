"""Find the name that a sweep file uses for a loss, sampler, precision or metric that a user calls otherwise."""

import re

from mdr_tune.config.chosen_metrics import far_text
from mdr_tune.util.nearest_name import nearest_name, plain_name

_OTHER_NAMES = {
    "fp32": ("float32", "float", "full", "32", "32-true"),
    "fp16": ("float16", "half", "16", "16-mixed", "16-true", "amp"),
    "bf16": ("bfloat16", "bf16-mixed", "mixed", "autocast", "true"),
    "tpe": ("bayes", "bayesian", "bayesopt", "bayesian_optimization", "optuna"),
    "qmc": ("sobol", "halton", "quasi_random"),
    "gp": ("gaussian_process", "botorch"),
    "asha": ("successive_halving", "async_hyperband"),
    "avg": ("mean", "average", "gap"),
    "max": ("maximum", "gmp"),
    "avg_max": ("catavgmax",),
    "token": ("cls", "cls_token", "class_token"),
    "identity": ("none", "null", "no"),
    "triplet": ("triplet_margin", "batch_hard_triplet"),
    "multi_similarity": ("ms", "multisim"),
    "pml.NTXentLoss": ("infonce", "simclr"),
}
_CALLED = {plain_name(other): name for name, others in _OTHER_NAMES.items() for other in others}


def meant_name(name: str, known: list[str]) -> str | None:
    """Return the name in `known` that other programs call `name`, or the most similar one; None if there is none.

    If the last of `known` is `pml.`, it stands for all loss classes of pytorch-metric-learning: `pml.CircleLoss`, ...
    """
    called = _CALLED.get(plain_name(name))
    own = [entry for entry in known if not entry.endswith(".")]
    if called in own:
        return called
    nearest = nearest_name(name, own)
    is_same = nearest is not None and plain_name(nearest) == plain_name(name)
    if len(own) == len(known) or is_same:
        return nearest
    from mdr_tune.metric.library_arguments import loss_class_names  # here: it imports torch

    classes = {plain_name(entry): f"{known[-1]}{entry}" for entry in loss_class_names()}
    return called or classes.get(plain_name(name), nearest)


def meant_metric(metric: str) -> str | None:
    """Return the metric that a user means by `metric`: `val/recall_at_1` for `Recall@1`; None if it is not known."""
    plain = re.sub(r"^(val(idation)?|test)[/_ .-]", "", metric.strip().lower().replace("@", "_at_"))
    rank = re.fullmatch(r"r(?:ecall)?(?:_?at_?|_)?([1-9][0-9]{0,8})?", plain)
    if rank is not None:
        return f"val/recall_at_{rank[1] or 1}"
    rank = re.fullmatch(r"(map|m?ap|p|precision)_at_([1-9][0-9]{0,8})", plain)
    if rank is not None:
        return f"val/{'precision' if rank[1].startswith('p') else 'map'}_at_{rank[2]}"
    tar = re.fullmatch(r"tar_at_(?:far_?)?=?([0-9.]+(?:e-?[0-9]+)?)%?", plain)
    if tar is not None and 0 < float(tar[1]) < 1:
        return f"val/tar_at_far_{far_text(float(tar[1]))}"
    others = {
        "mrr": "mrr",
        "nmi": "nmi",
        "map": "map_at_r",
        "map_at_r": "map_at_r",
        "rp": "r_precision",
        "rprecision": "r_precision",
    }
    other = others.get(plain, others.get(plain_name(plain)))
    return f"val/{other}" if other else None
