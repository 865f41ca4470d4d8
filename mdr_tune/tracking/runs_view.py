"""Choose what MLflow's page of a launch's runs opens with: the trials, best first, and the searched parameters.

MLflow keeps such a view as a tag of the experiment, as its button "share view" does. An address names it. Its table has
the sweep's metric and the searched parameters, its charts begin with parallel coordinates of these.
"""

import json
from collections.abc import Sequence

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mdr_tune.tracking.tags import OUTCOME_TAG

VIEW_TAG = "mlflow.sharedViewState."
"""Beginning of the names of the experiment's tags with views; the rest is the name of the view."""
PARAMETERS_SHOWN = 12
"""Largest number of searched parameters in a view, so that it fits into a tag of 5000 characters."""


_UNCHANGED = {
    "columnOrder": [],
    "columnWidths": {},
    "runsExpanded": {},
    "runsPinned": [],
    "runsHidden": [],
    "runsVisibilityMap": {},
    "runsHiddenMode": "FIRST_10_RUNS",
    "viewMaximized": False,
    "runListHidden": False,
    "isAccordionReordered": True,  # else the sections of charts are sorted by name
    "useGroupedValuesInCharts": True,
    "hideEmptyCharts": True,
    "groupBy": None,
    "groupsExpanded": {},
    "autoRefreshEnabled": True,
    "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
}
"""The rest of a view, as MLflow has it at first. MLflow 3.11 shows an error page if a part is missing."""


def view_tag(parent_run_id: str) -> str:
    """Return the name of the experiment's tag with the view of the launch whose run is `parent_run_id`."""
    return VIEW_TAG + _name(parent_run_id)


def _name(parent_run_id: str) -> str:
    return parent_run_id[:8]


def runs_page(experiment_id: str, parent_run_id: str) -> str:
    """Return the part of an address, after the server, that opens the view of a launch in MLflow."""
    page = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    return f"{page}&viewStateShareKey={_name(parent_run_id)}"


def runs_view(parent_run_id: str, best: str, others: Sequence[str], parameters: Sequence[str]) -> str:
    """Return the view of a launch, as the text that MLflow keeps.

    Args:
        parent_run_id: Id of the launch's run.
        best: Name of the metric by which the trials are sorted, the highest value first.
        others: Names of further metrics to show.
        parameters: Names of the searched parameters.
    """
    shown = list(parameters)[:PARAMETERS_SHOWN]
    columns = [
        *(_column("metrics", name) for name in (best, *others)),
        *(_column("params", name) for name in shown),
        _column("tags", OUTCOME_TAG),
    ]
    chart = {
        "type": "PARALLEL",
        "uuid": "mdr_tune-parallel",
        "metricSectionId": "mdr_tune-search",
        "runsCountToCompare": 10,
        "selectedParams": shown,
        "selectedMetrics": [best],
        "showAllRuns": True,
        "deleted": False,
        "isGenerated": False,
    }
    section = {
        "uuid": "mdr_tune-search",
        "name": "search",
        "display": True,
        "columns": 1,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
    }
    return json.dumps(
        {
            "searchFilter": f"tags.{MLFLOW_PARENT_RUN_ID} = '{parent_run_id}'",
            "orderByKey": _column("metrics", best),
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": [],
            "selectedColumns": columns,
            **({"compareRunCharts": [chart], "compareRunSections": [section]} if shown else {}),
            **_UNCHANGED,
        }
    )


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"
