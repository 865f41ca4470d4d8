"""Take pictures of a sweep's pages, MLflow's and the report, for the README, and to look at what users see.

    python scripts/screenshots.py --storage runs --sweep mdr_levels --out /tmp/pictures
    python scripts/screenshots.py --storage runs --sweep mdr_levels --out docs/pictures --only report

It needs `pip install playwright`, and Chromium: that of the system, or `playwright install chromium`.
"""

import argparse
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from mdr_tune.records.objectives import best_key
from mdr_tune.sweep.stores import choose_stores, open_client
from mdr_tune.tracking.reader import read_sweep
from mdr_tune.tracking.runs_view import runs_page
from mdr_tune.tracking.trial_models import find_model

MAIN_ARM = "mdr"
WIDTH, HEIGHT = 1280, 900
TRAINING = "workflowType=machine_learning"
"""Part of an address that opens MLflow's pages for training, not for GenAI."""
COMPARED = 4
"""Number of trials on the pages that compare trials."""
START_TIMEOUT_S = 120.0
SHOWN_TIMEOUT_MS = 60_000
SETTLE_MS = 3_000
"""Time for charts to be drawn after the text of a page is there."""
CHROMIUM = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
QUIET = {"mlflow.assistant.panelOpen_v1": "false", "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true"}
"""Entries of the browser's storage that keep MLflow's assistant closed."""


@dataclass(frozen=True)
class Page:
    """A page to take a picture of: its address below the server, or a whole one, and a text that it shows at last."""

    address: str
    text: str
    height: int = HEIGHT


def pages(client: MlflowClient, sweep: str) -> dict[str, Page]:
    """Return the pages of the newest launch of `sweep`, by the name of the picture."""
    launch = read_sweep(client, sweep)
    experiment, parent, best = launch.experiment_id, launch.parent_run_id, best_key(launch.metric)
    trials = sorted(launch.trials, key=lambda trial: trial.metrics.get(best, 0.0), reverse=True)
    first = next((trial for trial in trials if trial.record.arm == MAIN_ARM), trials[0])
    searched = [trial for trial in trials if trial.record.arm == first.record.arm][:COMPARED]
    view, home = runs_page(experiment, parent), f"#/experiments/{experiment}"
    run, compared = f"{home}/runs/{first.run_id}", json.dumps([trial.run_id for trial in searched])
    comparison = f"#/compare-runs?runs={compared}&experiments={json.dumps([experiment])}&{TRAINING}"
    found = {
        "runs": Page(view, first.record.name),
        "charts": Page(f"{view}&compareRunsMode=CHART", "Parallel Coordinates"),
        "compare": Page(comparison, "Parallel Coordinates Plot"),
        "launch": Page(f"{home}/runs/{parent}?{TRAINING}", "Description"),
        "launch_system": Page(f"{home}/runs/{parent}/system-metrics?{TRAINING}", "cpu_utilization"),
        "trial": Page(f"{run}?{TRAINING}", "Description", height=1200),
        "trial_metrics": Page(f"{run}/model-metrics?{TRAINING}", "Step"),
        "trial_artifacts": Page(f"{run}/artifacts?{TRAINING}", "checkpoints"),
        "models": Page(f"{home}/models?{TRAINING}", "Logged from"),
    }
    if (model := find_model(client, experiment, first.run_id)) is not None:
        found["model"] = Page(f"{home}/models/{model.model_id}?{TRAINING}", "Description")
    if versions := client.search_model_versions(f"name = '{sweep}'", max_results=1):
        page, number = f"#/models/{sweep}", versions[0].version
        found["registered"] = Page(f"{page}?{TRAINING}", "Versions")
        found["version"] = Page(f"{page}/versions/{number}?{TRAINING}", "Description", height=1200)
    return found


@contextlib.contextmanager
def ui(tracking_uri: str) -> Iterator[str]:
    """Run MLflow's UI for a store while the block runs; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mlflow = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(
        [*mlflow, "--backend-store-uri", tracking_uri], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _until_up(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait()


def _until_up(address: str, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(address):
            return
        time.sleep(0.5)
    raise SystemExit(f"MLflow's UI does not answer at {address}")


def take(server: str, wanted: dict[str, Page], out: Path) -> None:
    """Write a picture of each of the pages `wanted` into the folder `out`."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise SystemExit("pictures need playwright: pip install playwright") from None
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM))
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        for key, value in QUIET.items():
            context.add_init_script(f"localStorage.setItem({json.dumps(key)}, {json.dumps(value)})")
        for name, page in wanted.items():
            _take(context.new_page(), server, page, out / f"{name}.png")
        browser.close()


def _take(tab: Any, server: str, page: Page, file: Path) -> None:
    tab.set_viewport_size({"width": WIDTH, "height": page.height})
    tab.goto(page.address if "://" in page.address else server + page.address)
    try:
        tab.get_by_text(page.text).first.wait_for(timeout=SHOWN_TIMEOUT_MS)
    except Exception as error:  # playwright, imported by `take`, has the class of this error
        if type(error).__name__ != "TimeoutError":
            raise
        print(f"{file}: the page does not show {page.text!r}")
    tab.wait_for_timeout(SETTLE_MS)
    tab.screenshot(path=file)
    tab.close()
    print(file)


def main() -> None:
    """Take the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", default="runs", help="folder of the launch, with mlflow.db")
    parser.add_argument("--sweep", default="mdr_levels", help="name of the sweep; its newest launch is shown")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--only", nargs="+", help="names of pictures to take; default: all")
    arguments = parser.parse_args()
    stores = choose_stores(arguments.storage, None)
    found = pages(open_client(stores), arguments.sweep)
    reports = sorted(stores.storage.glob(f"sweeps/{arguments.sweep}/*/report/index.html"))
    if reports:
        found["report"] = Page(reports[-1].absolute().as_uri(), arguments.sweep)
    if unknown := set(arguments.only or ()) - set(found):
        raise SystemExit(f"no such page: {', '.join(sorted(unknown))}; there are {', '.join(found)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ui(stores.tracking_uri) as server:
        take(server, {name: found[name] for name in arguments.only or found}, arguments.out)


if __name__ == "__main__":
    main()
