"""Reports of runs: one HTML page without links, its pictures, and the tables as Markdown."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from hil.ablation import ABLATION_VERSION, AblationResult
from hil.errors import RecordError
from hil.experiment_results import RESULTS_VERSION, ExperimentResult, RepeatedResult
from hil.record import RunRecord, load_record
from hil.report_ablation import ablation_page
from hil.report_experiment import experiment_page
from hil.report_markdown import markdown
from hil.report_page import Page, render_page
from hil.report_tables import Found, runs_of
from hil.run_folder import write_atomically

__all__ = ["REPORT_FILE", "TABLES_FILE", "found_in", "result_of", "write_report"]

REPORT_FILE = "report.html"
TABLES_FILE = "tables.md"
PICTURE_FOLDER = "pictures"

_KINDS: tuple[tuple[str, type[ExperimentResult | RepeatedResult | AblationResult], int], ...] = (
    ("variants", AblationResult, ABLATION_VERSION),
    ("runs", RepeatedResult, RESULTS_VERSION),
    ("points", ExperimentResult, RESULTS_VERSION),
)
"""Results that can be drawn: a field that only they have, the document, its version."""


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


def found_in(record: RunRecord) -> Found | AblationResult:
    """Return the results in a record: of an experiment, or of an ablation.

    Raises:
        RecordError: The run has no results, other ones, or of another version.
    """
    if record.results is None:
        stopped = f" ({record.error.message})" if record.error else ""
        raise RecordError(
            f"run {record.name!r} has no results: {record.status.value}{stopped}; "
            "report a run that ended"
        )
    for key, kind, version in _KINDS:
        if key in record.results:
            found = record.results.get("schema_version")
            if found != version:
                raise RecordError(
                    f"run {record.name!r} holds results of version {found}, this software draws "
                    f"version {version}; run the recipe again"
                )
            try:
                return kind.model_validate(record.results)
            except ValidationError as error:
                first = error.errors()[0]
                raise RecordError(
                    f"the results of run {record.name!r} are damaged: "
                    f"{'.'.join(map(str, first['loc']))}: {first['msg']}; run the recipe again"
                ) from error
    raise RecordError(
        f"run {record.name!r} holds no results of an experiment; `hil report` draws those of "
        "`hil run`, `hil demo` and `hil ablate`"
    )


def result_of(record: RunRecord) -> tuple[ExperimentResult, ...]:
    """Return the results of an experiment, one per chip; raises as `found_in`."""
    found = found_in(record)
    if isinstance(found, AblationResult):
        raise RecordError(f"run {record.name!r} is an ablation; its variants hold experiments")
    return runs_of(found)


def _page(record: RunRecord) -> Page:
    found = found_in(record)
    if isinstance(found, AblationResult):
        return ablation_page(record, found)
    return experiment_page(record, found)
