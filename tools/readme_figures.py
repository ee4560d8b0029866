"""Print the README's section of measured figures from the committed benchmark outputs.

Run `python tools/readme_figures.py` after replacing a file in docs/benchmarks, and put what it prints
into README.md; a test compares the two.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["section"]

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
DAY_S = 86_400.0


def section() -> str:
    """Return the section in Markdown."""
    parts = [
        "Every figure here comes from a file in [docs/benchmarks](docs/benchmarks), which names its command.",
        "",
        "**Gradient descent against program-and-verify** on `hermes`, 256x256, five matrices (Gaussian, uniform,",
        "sparse, heavy-tailed, a trained layer) on five chips, same age and calibration: MVM error of gradient",
        "descent over that of verify, mean and 95 % interval over chips.",
        "",
        "| devices per polarity | age | over published margin | over its best margin | pulses, over published / best |",
        "|---|---|---|---|---|",
        *(_row(n, age) for n in (1, 2) for age in (200.0, DAY_S)),
        "",
        *_adc(),
        "",
        "**Digits, ResNet-9 on two cores**, 360 test images, five chips: accuracy in % (mean and 95 % interval).",
        "",
        *_digits(),
        "",
        *_speed(),
    ]
    return "\n".join(parts)


def _load(name: str) -> Any:  # noqa: ANN401 - documents of several kinds
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def _row(devices: int, age_s: float) -> str:
    ratios = {
        r["to_setting"]: r
        for r in _load(f"compare-hermes-{devices}.json")["ratios"]
        if (r["matrix"], r["age_s"], r["setting"]) == ("all", age_s, "default")
    }
    published, best = ratios["published_margin"], ratios["best_margin"]
    said = [f"{r['ratio']['mean']:.2f} ± {r['ratio']['half']:.2f}" for r in (published, best)]
    pulses = f"{published['pulses']['mean']:.2f} / {best['pulses']['mean']:.2f}"
    return f"| {devices} | {'1 day' if age_s == DAY_S else '200 s'} | {said[0]} | {said[1]} | {pulses} |"


def _adc() -> list[str]:
    found = {
        (e["setting"], e["adc_bits"]): e["linear_error"]["mean"]
        for e in _load("compare-adc-bits.json")["by_adc_bits"]
    }
    bits = sorted({b for _, b in found})
    line = [
        f"{name} " + " / ".join(f"{100 * found[setting, b]:.1f}" for b in bits)
        for setting, name in (("published_margin", "verify"), ("default", "gradient descent"))
    ]
    return [
        f"**ADC bits.** Error of the programmed matrix in % at {' / '.join(map(str, bits))} bits "
        f"(Gaussian, one device): {line[0]}; {line[1]}.",
    ]


def _digits() -> list[str]:
    document = _load("digits.json")
    ages = list(dict.fromkeys(p["age_s"] for p in document["spreads"]))
    names = {0.0: "t0", 3600.0: "1 h", DAY_S: "1 day"}
    lines = [
        "| method, compensation | " + " | ".join(names[a] for a in ages) + " |",
        "|---|" + "---|" * len(ages),
    ]
    for method in ("verify", "gdp"):
        for way in ("none", "global", "affine", "batch_norm"):
            cells = [
                f"{100 * p['accuracy']:.1f} ± {100 * p['accuracy_half']:.1f}"
                for a in ages
                for p in document["spreads"]
                if (p["method"], p["compensation"], p["age_s"]) == (method, way, a)
            ]
            lines.append(f"| {method}, {way} | " + " | ".join(cells) + " |")
    lines.append(f"\nSoftware: {100 * document['software_accuracy']:.1f} %.")
    return lines


def _speed() -> list[str]:
    timings = {(t["threads"], t["batch"]): t["ratio"] for t in _load("bench-mvm.json")["timings"]}
    threads = sorted({n for n, _ in timings})
    ratios = "; ".join(
        f"{n} thread{'s' if n > 1 else ''}: "
        + ", ".join(f"{timings[n, b]:.1f} at batch {b}" for b in (128, 1024))
        for n in threads
    )
    programs = "; ".join(
        f"{run['cpu_s']:.1f} s of CPU time to {100 * run['mvm_error_affine']:.1f} % ({n} per polarity)"
        for n in (1, 2)
        for run in [_load(f"bench-program-{n}.json")["runs"][1]]
    )
    loopback = _load("bench-loopback.json")
    return [
        "**Speed.** A full non-ideal 512x512 MVM over a plain torch product of the same size, same run: "
        f"{ratios}.",
        f"One 256x256 core by gradient descent: {programs}; with twice the iterations the error is no higher.",
        f"Through the encoded protocol: {loopback['ratio']:.1f} times the time, all {loopback['verbs']} verbs "
        f"{'equal' if loopback['bit_equal'] else 'NOT equal'} bit for bit.",
    ]


if __name__ == "__main__":
    print(section())  # noqa: T201 - this is what the tool is for
