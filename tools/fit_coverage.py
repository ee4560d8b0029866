"""How often `hil fit` is right: chips of unknown parameters, their truth against the intervals.

    python tools/fit_coverage.py --chips 20 --effort full

Every chip is a built-in preset with all its parameters changed by random factors, written into a
preset file and opened through its address; the fit sees the core alone. Prints per parameter how
many intervals held the truth, and how wide they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy.stats import binom

from hil import open_chip
from hil.chip_preset import ChipPreset, save_chip_preset
from hil.fitting import Effort, FitPlan, Found, measure_and_fit
from hil.fitting.estimates import Curve, Estimate
from sim_backend.params import PRESETS, ConverterParams, DeviceParams, Preset
from sim_backend.preset_file import document_of, preset_of

__all__ = ["Row", "compare", "unknown_chip"]

Row = tuple[str, float, float, float, float]
"""Name, truth, value, low, high."""


def unknown_chip(name: str, seed: int) -> tuple[ChipPreset, Preset]:
    """A preset with every parameter that a fit finds changed, as a document and as it opens."""
    base = PRESETS[name]
    device, converters = physics(base)
    rng = np.random.default_rng(seed)

    def factor(spread: float = 0.25) -> float:
        return float(np.exp(rng.uniform(-spread, spread)))

    law = device.law
    document = document_of(
        replace(
            base,
            device=replace(
                device,
                set_median=device.set_median * factor(0.2),
                set_sigma_ln=device.set_sigma_ln * factor(),
                set_cycle_sigma=device.set_cycle_sigma * factor(),
                reset_floor=device.reset_floor * factor(0.4),
                i50_ampere=device.i50_ampere * factor(),
                i50_sigma=device.i50_sigma * factor(),
                slope_ampere=device.slope_ampere * factor(),
                slope_sigma=device.slope_sigma * factor(),
                stuck_set=float(rng.uniform(0, 2e-3)),
                stuck_reset=float(rng.uniform(0, 5e-3)),
                relaxation=tuple((r, s * k) for k in [factor()] for r, s in device.relaxation),
            ),
            converters=replace(
                converters,
                gain_spread=float(rng.uniform(0.1, 0.25)),
                offset_sigma=converters.offset_sigma * factor(),
                output_noise=converters.output_noise * factor(),
            ),
        ),
        source=f"drawn from seed {seed}",
    )
    values = document.model_dump()
    for curve in ("sigma", "mu", "sd", "q"):
        form = values["device"]["law"][curve]
        knots = np.linspace(0.0, 1.0, 101)
        scaled = getattr(law, curve)(torch.tensor(knots)).numpy() * factor(0.2)
        form["form"] = {
            "kind": "piecewise_linear",
            "r": tuple(map(float, knots)),
            "values": tuple(map(float, scaled)),
        }
    document = ChipPreset.model_validate(values)
    return document, preset_of(document, base)


def physics(preset: Preset) -> tuple[DeviceParams, ConverterParams]:
    """Devices and converters of a preset that has them."""
    if preset.device is None or preset.converters is None:
        raise ValueError(f"preset {preset.name} is ideal; give one with physics")
    return preset.device, preset.converters


def compare(found: Found, truth: Preset) -> list[Row]:
    """Every estimate and every knot of every law beside its truth."""
    device, converters = physics(truth)
    rows: list[Row] = []
    estimates = (
        *found.converters.estimates,
        *found.set_states.estimates,
        *found.curves.estimates,
    )
    for e in estimates:
        true = getattr(converters, e.name, None)
        true = getattr(device, e.name, None) if true is None else true
        if true is not None:
            rows.append(_row(e, float(true)))
    laws = found.laws
    for curve in (laws.mu, laws.sd, laws.q, laws.relaxation, found.cycle.sigma):
        true_values = _law(device, curve)
        columns = (curve.r, true_values, curve.values, curve.low, curve.high)
        rows += [
            (f"{curve.name}({r:.2f})", float(t), float(v), float(low), float(high))
            for r, t, v, low, high in zip(*columns, strict=True)
        ]
    return rows


def _row(e: Estimate, true: float) -> Row:
    return e.name, true, e.value, e.low, e.high


def _law(device: DeviceParams, curve: Curve) -> np.ndarray:
    r = torch.tensor(curve.r)
    if curve.name == "relaxation":
        return np.interp(curve.r, *np.array(device.relaxation).T)
    if curve.name == "sigma":
        return device.law.programming_sigma(r).numpy()
    return getattr(device.law, curve.name)(r.clamp(0.0, 1.0)).numpy()


def main() -> None:
    """Fit chips and print the coverage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--preset", default="hermes")
    parser.add_argument("--effort", choices=tuple(Effort), default=Effort.QUICK)
    parser.add_argument("--options", default="devices=1", help="more of the address")
    given = parser.parse_args()
    held: dict[str, list[bool]] = defaultdict(list)
    widths: dict[str, list[float]] = defaultdict(list)
    pulls: dict[str, list[float]] = defaultdict(list)
    good = 0
    for seed in range(given.first, given.first + given.chips):
        document, truth = unknown_chip(given.preset, seed)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "unknown.json"
            save_chip_preset(document, path)
            address = f"sim:{given.preset}?seed={seed}&params={path}&{given.options}"
            with open_chip(address) as chip:
                core = chip.cores[0]
                plan = FitPlan.of(core.info, effort=Effort(given.effort))
                found = measure_and_fit(core, plan, seed=seed)
        good += all(f.good for f in (*found.curves.fitness, *found.laws.fitness))
        for name, true, value, low, high in compare(found, truth):
            held[name].append(bool(low <= true <= high))
            widths[name].append((high - low) / 2 / abs(true) if true else 0.0)
            pulls[name].append((value - true) / max((high - low) / 3.92, 1e-12))
    total = [h for one in held.values() for h in one]
    for name, one in held.items():
        n, hits = len(one), sum(one)
        rare = binom.cdf(hits, n, 0.95)
        sys.stdout.write(
            f"{name:20s} {hits:3d}/{n}  half width {np.median(widths[name]):7.1%}  "
            f"mean pull {np.mean(pulls[name]):+.2f}{'  LOW' if rare < 0.01 else ''}\n"
        )
    sys.stdout.write(
        json.dumps(
            {
                "chips": given.chips,
                "preset": given.preset,
                "effort": str(given.effort),
                "intervals": len(total),
                "held": int(sum(total)),
                "share": round(float(np.mean(total)), 4),
                "fits_good": good,
            }
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
