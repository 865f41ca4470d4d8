"""How long Recall@K over a whole split takes, beside the authors' loop over the queries, in one run.

    git clone https://github.com/kakaoenterprise/AAAI2021_MDR /tmp/authors
    python benchmarks/evaluation.py --authors /tmp/authors
    python benchmarks/evaluation.py --sizes 6000

Random embeddings of 512 numbers on the unit sphere, in classes of 2 to 8 images as of the Stanford Online Products, at
the ranks K of the paper's tables: 1, 2, 4, 8 and 1, 10, 100, 1000.

*Ours* is `retrieval_metrics`, all queries: Recall@K, MAP@R and R-precision. *Theirs* is `recall` of the authors'
utils/common.py, unchanged, imported from the checkout that --authors names: Recall@K. It takes the queries one by one;
it gets the first 100, and the table has their time in proportion to all. That both sides find the same is checked on
the queries that both had.

Rounds of both sides alternate, after some queries that are not timed; a number is the median of the rounds. The peak
memory of ours is that of a process which does nothing else; on a GPU, that of its allocator. Needs neither Ray nor
MLflow.

On two cores it takes some eight minutes with the authors' code, and five without.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from evaluation_speed.authors import Recall, load_recall
from evaluation_speed.memory import measure_peak
from evaluation_speed.problems import Problem
from evaluation_speed.tables import Measured, print_table
from throughput.tables import machine

from mdr_tune.cli.terminal import make_console
from mdr_tune.metric import metrics_from_sums, retrieval_metrics, score_queries

ROUNDS = 3
SIZES = (6_000, 60_000)
KS = ((1, 2, 4, 8), (1, 10, 100, 1000))
QUERIES = 100
"""Of the authors' code, in a round. Of 6,000 items its loop can leave 12 MB of scattered memory a query."""
WARM_UP_QUERIES = 20


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure the evaluation of a split, ours and the authors'.")
    parser.add_argument("--authors", type=Path, metavar="DIR", help="a checkout of the authors' repository")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, metavar="N", help="default: 6000 60000")
    parser.add_argument("--queries", type=int, default=QUERIES, metavar="N", help="of the authors' (default: 100)")
    parser.add_argument("--threads", type=int, metavar="N", help="default: as many as torch chooses")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns 2 if there is no checkout of the authors' code where --authors says."""
    arguments = make_parser().parse_args(argv)
    console = make_console()
    recall = None
    if arguments.authors is not None:
        if not (arguments.authors / "utils" / "common.py").is_file():
            print(f"--authors {arguments.authors}: no checkout of AAAI2021_MDR (no utils/common.py)", file=sys.stderr)
            return 2
        recall = load_recall(arguments.authors)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    console.print(machine(device), style="dim")
    results = []
    for problem in (Problem(size, ks) for size in arguments.sizes for ks in KS):
        results.append(measure(problem, ROUNDS, device, recall, arguments.queries))
        console.print(f"{problem.name} done", style="dim")
    print_table(console, results)
    return 0


def measure(problem: Problem, rounds: int, device: torch.device, recall: Recall | None, queries: int) -> Measured:
    """Time both sides in turn, after the peak memory of ours; `recall` is the authors' function, for `queries`."""
    embeddings, labels = (tensor.to(device) for tensor in problem.make())
    base, peak = measure_peak(embeddings, labels, problem.ks)
    queries = min(queries, problem.count)
    score_queries(embeddings, labels, problem.ks, rows=slice(0, WARM_UP_QUERIES))
    if recall is not None:
        recall(embeddings, labels, list(problem.ks), WARM_UP_QUERIES)
    ours, theirs, metrics, recalls = [], [], {}, []
    for _ in range(rounds):
        start = time.perf_counter()  # both sides end with their numbers on the CPU: a GPU is done by then
        metrics = retrieval_metrics(embeddings, labels, problem.ks)
        ours.append(time.perf_counter() - start)
        if recall is not None:
            start = time.perf_counter()
            recalls = recall(embeddings, labels, list(problem.ks), queries)
            theirs.append(time.perf_counter() - start)
    difference = None
    if recall is not None:
        part = metrics_from_sums(score_queries(embeddings, labels, problem.ks, rows=slice(0, queries)), problem.ks)
        pairs = zip(recalls, (part[f"recall_at_{k}"] for k in problem.ks), strict=True)
        difference = max(abs(their - our) for their, our in pairs)
    return Measured(problem, ours, theirs, queries, base, peak, metrics, difference)


if __name__ == "__main__":
    sys.exit(main())
