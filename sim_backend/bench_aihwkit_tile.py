"""Time aihwkit's time-stepped IR-drop tile: a script for any Python that has it.

Imports nothing of ours. python bench_aihwkit_tile.py PROBLEM.npz RESULT.npz; the problem holds
weights (rows, cols) in -1...1, codes (vectors, rows) in -127...127, ohm, g_max_microsiemens,
segments, extension (0 or 1) and repeats; the result seconds (repeats,), outputs (vectors, cols) in
units of weight times code, peak_bytes and a name.

The tile is called as its own layer calls it, without converters: inputs of 8 bits, no output
quantisation, no noise, ADC node at 0.4 V. Its plain sum over slots is used: its trapezoid counts
every input that is on half a slot longer than its code.
"""

from __future__ import annotations

import resource
import sys
import time
from importlib import import_module

import numpy as np

SLOTS = 127


def main(problem_path: str, result_path: str) -> None:
    """Run the tile and write the result."""
    torch = import_module("torch")
    aihwkit = import_module("aihwkit")
    mvm = import_module("aihwkit.simulator.tiles.analog_mvm_irdrop_t")
    io = import_module("aihwkit.simulator.parameters.io")
    enums = import_module("aihwkit.simulator.parameters.enums")
    converter = import_module("aihwkit.inference.converter.conductance")
    torch.set_num_threads(1)
    with np.load(problem_path) as problem:
        weights, codes = problem["weights"], problem["codes"]
        ohm, g_max = float(problem["ohm"]), float(problem["g_max_microsiemens"])
        segments, repeats = int(problem["segments"]), int(problem["repeats"])
        wants_extension = bool(problem["extension"])
    if not wants_extension:
        vars(mvm)["extension_ops"] = None
    elif mvm.extension_ops is None:
        print("this aihwkit was built without its compiled kernel", file=sys.stderr)  # noqa: T201
        raise SystemExit(3)
    parameters = io.IOParametersIRDropT(
        ir_drop=1.0,
        ir_drop_rs=ohm,
        ir_drop_segments=segments,
        ir_drop_v_read=0.4,
        ir_drop_integration_sum=True,
        adc_quantization=False,
        inp_res=1.0 / 254.0,
        inp_bound=1.0,
        out_res=-1.0,
        out_bound=-1.0,
        out_noise=0.0,
        noise_management=enums.NoiseManagementType.NONE,
        bound_management=enums.BoundManagementType.NONE,
    )
    g_converter = converter.SinglePairConductanceConverter(g_max=g_max, g_min=0.0)
    w = torch.from_numpy(weights.T.astype(np.float32)).contiguous()
    x = torch.from_numpy(codes.astype(np.float32)) / SLOTS
    # conductances of a weight w are w * g_max / max |w|
    largest = float(np.abs(weights).max())
    seconds, outputs = [], torch.zeros(0)
    with torch.no_grad():
        for _ in range(repeats):
            began = time.perf_counter()
            outputs = mvm.AnalogMVMIRDropT.matmul(
                w,
                x,
                parameters,
                False,
                True,
                phys_input_size=weights.shape[0],
                g_converter=g_converter,
                out_noise_values=None,
            )
            seconds.append(time.perf_counter() - began)
    how = "compiled, per cell" if wants_extension else f"torch, {segments} segments"
    np.savez(
        result_path,
        seconds=np.array(seconds),
        outputs=outputs.numpy() * SLOTS,
        largest=largest,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        name=f"aihwkit {aihwkit.__version__}, {how}",
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
