"""README's tables on the faithfulness and the speed of the simulator, from committed outputs.

`tools/readme_figures.py` puts them into its section.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hil.validation import Tolerance, Validation, ValidationRow, grouped

__all__ = ["physics"]

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"


def physics() -> list[str]:
    """Return the lines of every table whose output is there."""
    parts = (
        ("validation", _validation),
        ("bench-circuit", _circuit),
        ("bench-nets", _nets),
    )
    lines: list[str] = []
    for name, part in parts:
        path = FOLDER / f"{name}.json"
        if path.exists():
            lines += ["", *part(json.loads(path.read_text(encoding="utf-8")))]
    return lines


def _validation(document: Any) -> list[str]:  # noqa: ANN401 - a JSON document
    fields = {key: document[key] for key in Validation.model_fields if key in document}
    found = Validation.model_validate(fields)
    groups = [group for group in grouped(found.rows) if group.passed is not None]
    within = found.judged - len(found.failed)
    return [
        f"**How faithful.** `hil validate --core sim:hermes`: {within} of {found.judged} comparisons are within their",
        f"tolerance; {len(found.rows) - found.judged} more are shown by the command and not judged, with the reason. Of each",
        "group the comparison that uses most of its tolerance:",
        "",
        "| family | quantity | points | worst at | published or exact | ours | difference | tolerance |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {w.family} | {w.group} | {len(group.rows)} | {w.at} | {_value(w, w.published)} | "
            f"{_value(w, w.ours)} | {_difference(w)} | {_tolerance(w)} |"
            for group in groups
            for w in [group.worst]
        ),
    ]


def _value(row: ValidationRow, value: float) -> str:
    return f"{value:.3g}" + ("" if row.unit == "1" else f" {row.unit}")


def _difference(row: ValidationRow) -> str:
    if row.judged is Tolerance.RELATIVE:
        return f"{100 * row.difference:+.1f} %"
    return f"{row.difference:+.3g}"


def _tolerance(row: ValidationRow) -> str:
    if row.judged is Tolerance.RELATIVE:
        return f"{100 * row.tolerance:.3g} %"
    return "at most" if row.judged is Tolerance.AT_MOST else f"{row.tolerance:.3g}"


def _circuit(document: Any) -> list[str]:  # noqa: ANN401 - a JSON document
    lines = [
        f"**The tile circuit** of {document['rows']} x {document['cols']}, 25 µS and 0.15 Ω per cell, 127 slots, one thread; the plain product takes "
        f"{_micro(document['matmul_per_vector_s'])} per vector. Error: largest difference from the exact solution over its largest charge.",
        "",
        "| solver, idle devices | first use | per vector | times a plain product | error |",
        "|---|---|---|---|---|",
        *(
            f"| {t['solver']}, {t['idle']} | {1e3 * t['prepare_s']:.3g} ms | {_micro(t['per_vector_s'])} | "
            f"{_count(t['matmul_ratio'])} | {t['worst_error']:.1e} |"
            for t in document["timings"]
        ),
        *(
            f"| {p['name']} | - | {_micro(p['per_vector_s'])} | "
            f"{p['per_vector_s'] / document['matmul_per_vector_s']:,.0f} | {p['worst_error']:.1e} |"
            for p in document["peers"]
        ),
    ]
    for peer in document["peers"]:
        ratios = "; ".join(f"{name}: {ratio:,.0f}" for name, ratio in peer["ratios"].items())
        lines += ["", f"Times as fast as {peer['name']}: {ratios}."]
    if document["errors"]:
        lines += [
            "",
            "| rapid against exact: rows, g_max, wire | ordinary, median / worst | all patterns, worst | where |",
            "|---|---|---|---|",
            *(
                f"| {e['rows']}, {1e6 * e['g_max_siemens']:g} µS, {e['ohm_per_cell']:g} Ω | {100 * e['ordinary_median']:.2g} / "
                f"{100 * e['ordinary_worst']:.2g} % | {100 * e['worst']:.2g} % | {e['worst_case']} |"
                for e in document["errors"]
            ),
        ]
    if document["scaling"]:
        exponents = "; ".join(
            f"{s['solver']}, {s['idle']}, {s['axis']} {s['exponent']:.2f}"
            for s in document["scaling"]
        )
        picture = "[circuit-scaling.png](docs/benchmarks/circuit-scaling.png)"
        lines += ["", f"Time grows as a size to this power ({picture}): {exponents}."]
    return lines


def _nets(document: Any) -> list[str]:  # noqa: ANN401 - a JSON document
    return [
        f"**Static nets**, 1 Ω per segment of both lines, solved exactly; batches of {document['batch']}, one thread.",
        "",
        "| net | first use | per vector | peer: first use, times ours | per vector, times ours | largest disagreement |",
        "|---|---|---|---|---|---|",
        *(_net(size, peer) for size in document["sizes"] for peer in size["peers"]),
    ]


def _net(size: Any, peer: Any) -> str:  # noqa: ANN401 - rows of a document
    first = "-" if peer["first_ratio"] is None else f"{peer['first_ratio']:.3g}"
    return (
        f"| {size['rows']} x {size['cols']} | {1e3 * size['first_s']:.3g} ms | "
        f"{_micro(size['per_vector_s'])} | {peer['name']}: {first} | "
        f"{peer['per_vector_ratio']:,.0f} | {peer['disagreement']:.1e} |"
    )


def _micro(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1e6 * seconds:.3g} µs"


def _count(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100.0 else f"{ratio:.3g}"
