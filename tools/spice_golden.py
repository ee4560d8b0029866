"""Make golden results of ngspice anew: all of them, or those named.

python tools/spice_golden.py                      all; a net of 128 x 128 cells takes minutes
python tools/spice_golden.py rest-8-random ...    these
"""

from __future__ import annotations

import sys
import time

from sim_backend.circuit.spice_cases import CASES
from sim_backend.circuit.spice_golden import make_golden

if __name__ == "__main__":
    for wanted in sys.argv[1:] or CASES:
        began = time.perf_counter()
        path = make_golden(wanted)
        sys.stdout.write(f"{path.name}  {time.perf_counter() - began:.1f} s\n")
        sys.stdout.flush()
