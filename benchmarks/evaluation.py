"""How long Recall@K over a whole split takes, beside a loop over the queries and the bare product, in one run.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --sizes 6000

Random embeddings of 512 numbers on the unit sphere, in classes of 2 to 8 images as of the Stanford Online Products, at
the ranks K of the paper's tables: 1, 2, 4, 8 and 1, 10, 100, 1000.

*Verification* is `verify` over all pairs: TAR at FAR 1e-2, 1e-3 and 1e-4, and the equal error rate.

*Ours* is `retrieval_metrics`, all queries: Recall@K, MAP@R and R-precision. *Loop* takes the queries one by one, as the
authors' code does, for Recall@K; it gets the first 100, and the table has its time in proportion to all. That both
sides find the same is checked on the queries that both had. *Product* is what no way can do without: all N x N products
and the K largest of each row.

Rounds of the four alternate, after some queries that are not timed; a number is the median of the rounds. The peak
memory of ours is that of a process which does nothing else; on a GPU, that of its allocator. Needs neither Ray nor
MLflow. On two cores it takes some twelve minutes.
"""

import argparse
import sys
import time

import torch
from evaluation_speed.memory import FARS, measure_peak
from evaluation_speed.others import product_and_topk, recall_by_loop
from evaluation_speed.problems import Problem
from evaluation_speed.tables import Measured, print_table, rows
from summary.machine import machine
from summary.rows import add_rows_option, write_rows

from mdr_tune.cli.terminal import make_console
from mdr_tune.metric import metrics_from_sums, retrieval_metrics, score_queries
from mdr_tune.metric.verification import verify

ROUNDS = 3
SIZES = (6_000, 60_000)
KS = ((1, 2, 4, 8), (1, 10, 100, 1000))
QUERIES = 100
"""Of the loop, in a round."""
WARM_UP_QUERIES = 20
TOLERANCE = 1e-6
"""Of the recalls, in percent points: the same hits, divided in other types."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure the evaluation of a split, ours and query by query.")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, metavar="N", help="default: 6000 60000")
    parser.add_argument("--queries", type=int, default=QUERIES, metavar="N", help="of the loop (default: 100)")
    parser.add_argument("--threads", type=int, metavar="N", help="default: as many as torch chooses")
    add_rows_option(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns 1 if the recalls differ."""
    arguments = make_parser().parse_args(argv)
    console = make_console()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    console.print(machine(device), style="dim")
    results = []
    for problem in (Problem(size, ks) for size in arguments.sizes for ks in KS):
        results.append(measure(problem, ROUNDS, device, arguments.queries))
        console.print(f"{problem.name} done", style="dim")
    print_table(console, results)
    if arguments.rows is not None:
        write_rows(arguments.rows, rows(results))
    return int(any(result.difference > TOLERANCE for result in results))


def measure(problem: Problem, rounds: int, device: torch.device, queries: int) -> Measured:
    """Time all sides in turn, after the peak memory of ours."""
    embeddings, labels = (tensor.to(device) for tensor in problem.make())
    base, peak = measure_peak(embeddings, labels, problem.ks)
    verify_base, verify_peak = measure_peak(embeddings, labels, ())
    queries = min(queries, problem.count)
    score_queries(embeddings, labels, problem.ks, rows=slice(0, WARM_UP_QUERIES))
    recall_by_loop(embeddings, labels, problem.ks, WARM_UP_QUERIES)
    product_and_topk(embeddings[:WARM_UP_QUERIES], 1)
    ours, theirs, products, verified, metrics, recalls = [], [], [], [], {}, []
    for _ in range(rounds):
        start = time.perf_counter()  # all sides end with their numbers on the CPU: a GPU is done by then
        metrics = retrieval_metrics(embeddings, labels, problem.ks)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        recalls = recall_by_loop(embeddings, labels, problem.ks, queries)
        theirs.append(time.perf_counter() - start)
        start = time.perf_counter()
        product_and_topk(embeddings, max(problem.ks) + 1).cpu()
        products.append(time.perf_counter() - start)
        start = time.perf_counter()
        found = verify(embeddings, labels, FARS)
        verified.append(time.perf_counter() - start)
        rates = [found.true_accept_rate(threshold) for threshold in found.at_far]
        metrics |= {f"tar_at_far_{far:g}": rate for far, rate in zip(FARS, rates, strict=True)}
        metrics["eer"] = found.equal_error_rate()
    part = metrics_from_sums(score_queries(embeddings, labels, problem.ks, rows=slice(0, queries)), problem.ks)
    pairs = zip(recalls, (part[f"recall_at_{k}"] for k in problem.ks), strict=True)
    difference = max(abs(their - our) for their, our in pairs)
    both = verified, verify_base, verify_peak
    return Measured(problem, ours, theirs, products, queries, base, peak, metrics, difference, *both)


if __name__ == "__main__":
    sys.exit(main())
