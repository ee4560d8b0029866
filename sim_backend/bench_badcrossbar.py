"""Time badcrossbar on a net: a script for any Python that has it. Imports nothing of ours.

python bench_badcrossbar.py PROBLEM.npz RESULT.npz; the problem holds siemens (rows, cols), volt
(rows, vectors), ohm and repeats; the result seconds (repeats,) and ampere (vectors, cols).
"""

from __future__ import annotations

import sys
import time
from importlib import import_module

import numpy as np


def main(problem_path: str, result_path: str) -> None:
    """Solve the problem and write the result."""
    badcrossbar = import_module("badcrossbar")
    with np.load(problem_path) as problem:
        siemens, volt = problem["siemens"], problem["volt"]
        ohm, repeats = float(problem["ohm"]), int(problem["repeats"])
    seconds, ampere = [], None
    for _ in range(repeats):
        began = time.perf_counter()
        found = badcrossbar.compute(
            volt, 1.0 / siemens, ohm, node_voltages=False, all_currents=False
        )
        seconds.append(time.perf_counter() - began)
        ampere = found.currents.output
    np.savez(result_path, seconds=np.array(seconds), ampere=np.asarray(ampere))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
