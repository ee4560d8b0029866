"""The one-page report of a run: verdict, pictures, tables in one HTML file without links."""

from __future__ import annotations

import base64
import html
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from hil.errors import RecordError
from hil.experiment_results import (
    METHOD_NAMES,
    ExperimentResult,
    RepeatedResult,
    Spread,
    age_text,
    spreads,
)
from hil.info import BackendKind
from hil.record import RunRecord, load_record
from hil.report_plots import (
    plot_accuracy,
    plot_confusion,
    plot_layers,
    plot_mvm_error,
    plot_placement,
    plot_pulses,
)
from hil.run_folder import write_atomically

__all__ = ["Picture", "render_report", "result_of", "write_report"]

REPORT_FILE = "report.html"
PICTURE_FOLDER = "pictures"

_BACKEND_WORDS = {
    BackendKind.SIM: "simulated chip",
    BackendKind.SILICON: "silicon",
    BackendKind.REPLAY: "replayed run",
}


class Picture(BaseModel):
    """A picture of a report: file name, PNG bytes, what it shows in one sentence."""

    model_config = ConfigDict(frozen=True)

    name: str
    png: bytes
    caption: str


def write_report(folder: Path) -> Path:
    """Write `report.html` and its pictures into a run folder; return the path of the page.

    Raises:
        RecordError: The folder holds no record, or a record without an experiment's results.
    """
    record = load_record(folder)
    runs = result_of(record)
    pictures = _pictures(runs)
    (folder / PICTURE_FOLDER).mkdir(exist_ok=True)
    for picture in pictures:
        write_atomically(folder / PICTURE_FOLDER / f"{picture.name}.png", picture.png)
    page = folder / REPORT_FILE
    write_atomically(page, render_report(record, runs, pictures).encode())
    return page


def result_of(record: RunRecord) -> tuple[ExperimentResult, ...]:
    """Return the experiment results in a record, one per chip.

    Raises:
        RecordError: The run has no results, or not those of an experiment.
    """
    if record.results is None:
        stopped = f" ({record.error.message})" if record.error else ""
        raise RecordError(
            f"run {record.name!r} has no results: {record.status.value}{stopped}; "
            "report a run that ended"
        )
    try:
        if "runs" in record.results:
            return RepeatedResult.model_validate(record.results).runs
        return (ExperimentResult.model_validate(record.results),)
    except ValidationError as error:
        raise RecordError(
            f"run {record.name!r} holds no results of an experiment; `hil report` draws those of "
            "`hil run` and `hil demo`"
        ) from error


def render_report(
    record: RunRecord, runs: tuple[ExperimentResult, ...], pictures: tuple[Picture, ...]
) -> str:
    """Return the page as text. Every word from outside is escaped; images are embedded."""
    first = runs[0]
    met, verdict = _verdict(record, runs)
    backend = _BACKEND_WORDS[first.chip.backend]
    chips = first.chip.serial if len(runs) == 1 else f"{len(runs)} chips"
    return _PAGE.format(
        title=html.escape(first.title),
        style=_STYLE,
        state="good" if met else "bad",
        verdict=html.escape(verdict),
        facts="".join(_facts(runs)),
        where=html.escape(f"{first.chip.model}, {chips}"),
        backend=html.escape(backend),
        figures="".join(_figure(p) for p in pictures),
        accuracy=_accuracy_table(runs),
        programming=_programming_table(runs),
        provenance=_provenance(record, runs),
    )


def _verdict(record: RunRecord, runs: tuple[ExperimentResult, ...]) -> tuple[bool, str]:
    results = record.results or {}
    return bool(results.get("goal_met", runs[0].goal_met)), str(
        results.get("verdict", runs[0].verdict)
    )


def _facts(runs: tuple[ExperimentResult, ...]) -> Iterable[str]:
    first = runs[0]
    last = first.ages_s[-1]
    software = sum(r.software_accuracy for r in runs) / len(runs)
    yield _fact(f"{software:.1%}", "software")
    rows = spreads(runs)
    for method in first.methods:
        mine = [r for r in rows if r.method == method.method and r.age_s == last]
        best = max(mine, key=lambda r: r.accuracy)
        name = METHOD_NAMES.get(method.method, method.method)
        yield _fact(_percent(best, "accuracy"), f"{name} after {age_text(last)}")
    pulses = [
        sum(run.methods[k].pulses_per_device for run in runs) / len(runs)
        for k in range(len(first.methods))
    ]
    names = " / ".join(METHOD_NAMES.get(m.method, m.method) for m in first.methods)
    yield _fact(" / ".join(f"{p:.1f}" for p in pulses), f"pulses per device, {names}")


def _pictures(runs: tuple[ExperimentResult, ...]) -> tuple[Picture, ...]:
    first = runs[0]
    judged = METHOD_NAMES.get(first.goal_method, first.goal_method)
    bars = " Bars: 95 % intervals over the chips." if len(runs) > 1 else ""
    one = "" if len(runs) == 1 else f" Chip {first.chip.serial}."
    last = age_text(first.ages_s[-1])
    return (
        Picture(
            name="accuracy",
            png=plot_accuracy(runs),
            caption=f"Accuracy against age, with each drift compensation.{bars}",
        ),
        Picture(
            name="mvm-error",
            png=plot_mvm_error(runs),
            caption=f"MVM error on the activations of the test images, mean of the layers.{bars}",
        ),
        Picture(
            name="layers",
            png=plot_layers(first),
            caption=f"MVM error layer by layer, best compensation of each age.{one}",
        ),
        Picture(
            name="pulses",
            png=plot_pulses(first),
            caption=f"What programming cost: pulses on each device.{one}",
        ),
        Picture(
            name="placement",
            png=plot_placement(first),
            caption=f"The layers on the cores; {first.utilisation:.0%} of the cells are used.",
        ),
        Picture(
            name="confusion",
            png=plot_confusion(first),
            caption=f"Answers after {last}, {judged}, best compensation.{one}",
        ),
    )


def _fact(number: str, words: str) -> str:
    return f"<div class=fact><b>{html.escape(number)}</b><span>{html.escape(words)}</span></div>"


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    caption = html.escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _accuracy_table(runs: tuple[ExperimentResult, ...]) -> str:
    first = runs[0]
    rows = spreads(runs)
    ages = first.ages_s
    head = "".join(f"<th colspan=2>{html.escape(age_text(a))}</th>" for a in ages)
    under = "<th>accuracy</th><th>MVM error</th>" * len(ages)
    body = []
    for method in first.methods:
        best = {
            age: max(r.accuracy for r in rows if (r.method, r.age_s) == (method.method, age))
            for age in ages
        }
        for compensation in first.compensations:
            cells = []
            for age in ages:
                row = next(
                    r
                    for r in rows
                    if (r.method, r.age_s, r.compensation) == (method.method, age, compensation)
                )
                mark = " class=best" if row.accuracy == best[age] else ""
                cells.append(
                    f"<td{mark}>{_percent(row, 'accuracy')}</td>"
                    f"<td>{_percent(row, 'mvm_error')}</td>"
                )
            name = METHOD_NAMES.get(method.method, method.method)
            body.append(
                f"<tr><td>{html.escape(name)}</td>"
                f"<td>{html.escape(compensation.replace('_', '-'))}</td>{''.join(cells)}</tr>"
            )
    software = sum(r.software_accuracy for r in runs) / len(runs)
    quantised = sum(r.quantised_accuracy for r in runs) / len(runs)
    return (
        f"<table><thead><tr><th rowspan=2>programmed by</th><th rowspan=2>compensation</th>{head}"
        f"</tr><tr>{under}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"<p class=note>{first.samples} test images of {html.escape(first.dataset)}. Software "
        f"{software:.1%}; with the converters' quantisation alone {quantised:.1%}.</p>"
    )


def _programming_table(runs: tuple[ExperimentResult, ...]) -> str:
    head = (
        "<th>programmed by</th><th>ended because</th><th>cells accepted</th>"
        "<th>pulses per device</th><th>most</th><th>reads</th><th>MVMs</th>"
        "<th>MVM error</th><th>after affine fit</th><th>chip time</th><th>wall time</th>"
    )
    body = []
    for k, method in enumerate(runs[0].methods):
        of_all = [run.methods[k] for run in runs]
        n = len(of_all)
        cells = (
            METHOD_NAMES.get(method.method, method.method),
            method.outcome,
            f"{sum(m.success_share for m in of_all) / n:.1%}",
            f"{sum(m.pulses_per_device for m in of_all) / n:.2f}",
            str(max(m.pulses_max for m in of_all)),
            f"{sum(m.reads for m in of_all) // n:,}",
            f"{sum(m.mvms for m in of_all) // n:,}",
            _mean_percent([m.mvm_error for m in of_all]),
            _mean_percent([m.mvm_error_affine for m in of_all]),
            _duration(sum(m.chip_s for m in of_all) / n),
            _duration(sum(m.wall_s for m in of_all) / n),
        )
        body.append("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>")
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        "<p class=note>MVM errors here: random inputs independent of those used to program, "
        "mean of the layers.</p>"
    )


def _provenance(record: RunRecord, runs: tuple[ExperimentResult, ...]) -> str:
    first = runs[0]
    rows = (
        ("repeat with", shlex.join(record.command)),
        ("address", record.address or first.address),
        ("chip", ", ".join(run.chip.serial for run in runs)),
        ("network", first.network),
        ("seed", str(record.seed)),
        ("started, ended", f"{record.started_at}, {record.ended_at or 'not ended'}"),
        (
            "time",
            f"{_duration(sum(r.wall_s for r in runs))} here, "
            f"{_duration(sum(r.chip_s for r in runs))} on the chip",
        ),
        ("versions", ", ".join(f"{k} {v}" for k, v in record.versions.items())),
    )
    return "".join(
        f"<tr><th>{html.escape(k)}</th><td><code>{html.escape(v)}</code></td></tr>" for k, v in rows
    )


def _percent(row: Spread, quantity: Literal["accuracy", "mvm_error"]) -> str:
    value = row.accuracy if quantity == "accuracy" else row.mvm_error
    half = row.accuracy_half if quantity == "accuracy" else row.mvm_error_half
    spread = f" ± {100 * half:.1f}" if half is not None else ""
    return f"{100 * value:.1f}{spread}%"


def _mean_percent(values: list[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{sum(known) / len(known):.1%}" if known else "not measured"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    if seconds >= 0.1 or seconds == 0:
        return f"{seconds:.1f} s"
    return f"{1e3 * seconds:.2g} ms"


_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto;
       max-width: 1080px; padding: 1.2rem 1.5rem 2rem; }
h1 { font-size: 1.05rem; font-weight: 600; color: #555; margin: 0 0 .6rem; }
h2 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
.badge { font-size: .8rem; border: 1px solid #999; border-radius: 1em; padding: .1em .7em;
         color: #444; white-space: nowrap; font-weight: 400; }
.verdict { font-size: 1.25rem; line-height: 1.4; border-left: .35rem solid; padding: .5rem 1rem;
           margin: 0 0 1rem; border-radius: .2rem; }
.good { border-color: #009e73; background: #effaf6; }
.bad { border-color: #d55e00; background: #fdf3ec; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem 2.2rem; margin: 0 0 1rem; }
.fact b { display: block; font-size: 1.5rem; font-weight: 600; line-height: 1.2; }
.fact span { color: #555; font-size: .85rem; }
.figures { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem 1.4rem; align-items: end; }
@media (max-width: 760px) { .figures { grid-template-columns: 1fr; } }
figure { margin: 0; }
figure img { max-width: 100%; max-height: 300px; display: block; }
figcaption { font-size: .85rem; color: #555; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
         vertical-align: top; }
thead th { border-bottom: 1.5px solid #888; font-weight: 600; }
td.best { font-weight: 700; }
.note { font-size: .85rem; color: #555; margin: .3rem 0 0; }
code { font-size: .82rem; overflow-wrap: anywhere; }
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head><body>
<h1>{title} <span class=badge>{backend}</span> <span class=badge>{where}</span></h1>
<p class="verdict {state}">{verdict}</p>
<div class=facts>{facts}</div>
<div class=figures>{figures}</div>
<h2>Accuracy and MVM error</h2><div class=scroll>{accuracy}</div>
<h2>Programming</h2><div class=scroll>{programming}</div>
<h2>Where this comes from</h2><table>{provenance}</table>
</body></html>
"""
