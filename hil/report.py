"""Reports of runs: one HTML page without links, its pictures, and the tables as Markdown."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from hil.errors import RecordError
from hil.experiment_results import RESULTS_VERSION, ExperimentResult, RepeatedResult
from hil.record import RunRecord, load_record
from hil.report_experiment import experiment_page
from hil.report_markdown import markdown
from hil.report_page import Page, render_page
from hil.report_tables import Found, runs_of
from hil.run_folder import write_atomically

__all__ = ["REPORT_FILE", "TABLES_FILE", "found_in", "result_of", "write_report"]

REPORT_FILE = "report.html"
TABLES_FILE = "tables.md"
PICTURE_FOLDER = "pictures"


def write_report(folder: Path) -> Path:
    """Write `report.html`, its pictures and `tables.md` into a run folder; return the page's path.

    Raises:
        RecordError: The folder holds no record, or a record without results to draw.
    """
    record = load_record(folder)
    page = _page(record)
    (folder / PICTURE_FOLDER).mkdir(exist_ok=True)
    for picture in page.pictures:
        write_atomically(folder / PICTURE_FOLDER / f"{picture.name}.png", picture.png)
    tables = markdown(page.title, (page.verdict, *page.sentences), page.tables)
    write_atomically(folder / TABLES_FILE, tables.encode())
    path = folder / REPORT_FILE
    write_atomically(path, render_page(page).encode())
    return path


def found_in(record: RunRecord) -> Found:
    """Return the results of an experiment from its record.

    Raises:
        RecordError: The run has no results, not those of an experiment, or of another version.
    """
    if record.results is None:
        stopped = f" ({record.error.message})" if record.error else ""
        raise RecordError(
            f"run {record.name!r} has no results: {record.status.value}{stopped}; "
            "report a run that ended"
        )
    version = record.results.get("schema_version")
    is_run = "points" in record.results or "runs" in record.results
    if is_run and version != RESULTS_VERSION:
        raise RecordError(
            f"run {record.name!r} holds results of version {version}, this software draws version "
            f"{RESULTS_VERSION}; run the recipe again"
        )
    try:
        if "runs" in record.results:
            return RepeatedResult.model_validate(record.results)
        return ExperimentResult.model_validate(record.results)
    except ValidationError as error:
        raise RecordError(
            f"run {record.name!r} holds no results of an experiment; `hil report` draws those of "
            "`hil run`, `hil demo` and `hil ablate`"
        ) from error


def result_of(record: RunRecord) -> tuple[ExperimentResult, ...]:
    """Return the experiment results in a record, one per chip; raises as `found_in`."""
    return runs_of(found_in(record))


def _page(record: RunRecord) -> Page:
    return experiment_page(record, found_in(record))
