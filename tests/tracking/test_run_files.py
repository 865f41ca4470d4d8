"""Files of a launch as a whole."""

from pathlib import Path

from mlflow import MlflowClient

from mdr_tune.tracking.run_files import log_figures, log_report
from tests.tracking.stored import all_files
from tests.tracking.told import open_tracker


def test_a_report_with_its_folders_is_replaced_by_the_next(
    client: MlflowClient, artifact_root: Path, tmp_path: Path
) -> None:
    tracker = open_tracker(client, "with_report", artifact_root)
    (tmp_path / "figures").mkdir()
    page, figure = tmp_path / "report.html", tmp_path / "figures" / "curves.png"
    figure.write_bytes(b"picture")
    for text in ("first", "second"):
        page.write_text(text)
        log_report(client, tracker.parent_run_id, tmp_path)
    log_figures(client, tracker.parent_run_id, [figure])
    tracker.close("FINISHED")
    files = all_files(client, tracker.parent_run_id)
    assert files == ["figures/curves.png", "report/figures/curves.png", "report/report.html"]
    kept = client.download_artifacts(tracker.parent_run_id, "report/report.html", str(tmp_path / "figures"))
    assert Path(kept).read_text() == "second"
