"""Write what docs/benchmarks keeps of a run: its results without layers, histograms and places.

`python tools/keep_result.py RUN NAME` reads RUN/record.json and writes docs/benchmarks/NAME.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["kept"]

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
LEFT_OUT = ("layers", "pulses_histogram", "placement", "placements", "confusion", "recall")
"""Long parts of a result that no figure comes from."""


def kept(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value without the parts left out, floats to 6 digits."""
    if isinstance(value, dict):
        return {key: kept(part) for key, part in value.items() if key not in LEFT_OUT}
    if isinstance(value, list):
        return [kept(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def main(run: str, name: str) -> None:
    """Keep the results of a run, with the command that made them."""
    record = json.loads((Path(run) / "record.json").read_text(encoding="utf-8"))
    results = record["results"]
    validation = Path(run) / "validation.json"
    if validation.exists():  # its curves are rows and laws again
        results = {**json.loads(validation.read_text(encoding="utf-8")), "plots": []}
    document = {
        "command": _without_folder(record["command"]),
        "versions": record["versions"],
        "recipe_in_force": record["recipe"],
    } | results
    if "runs" in document:  # what each chip gave is in the spreads; its plan is that of the first
        document |= {"plan": document["runs"][0]["plan"], "runs": _short(document["runs"])}
    text = json.dumps(kept(document), indent=1, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _without_folder(command: list[str]) -> list[str]:
    """Leave out where the run was written and where a peer lives: they make no figures."""
    if "--peer-python" in command:
        place = command.index("--peer-python") + 1
        command = [*command[:place], "PYTHON", *command[place + 1 :]]
    for option in ("--out", "--resume-into"):
        if option in command:
            place = command.index(option)
            command = command[:place] + command[place + 2 :]
    return command


def _short(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("chip", "address", "samples", "methods", "points", "chip_s", "wall_s")
    return [{name: run[name] for name in names} for run in runs]


if __name__ == "__main__":
    main(*sys.argv[1:])
