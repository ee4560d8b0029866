"""Print the README's section of measured figures from the committed benchmark outputs.

Run `python tools/readme_figures.py` after replacing a file in docs/benchmarks, and put what it prints
into README.md; a test compares the two.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from readme_physics import physics

__all__ = ["section"]

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
DAY_S = 86_400.0


def section() -> str:
    """Return the section in Markdown."""
    parts = [
        "Every figure here comes from a file in [docs/benchmarks](docs/benchmarks), which names its command.",
        "",
        "Read noise became a trajectory of each device ([decision 0023](docs/decisions/0023-read-noise-is-a-trajectory.md)) after",
        "these were measured, which still stand with noise drawn anew for every vector: the comparison with two devices",
        "per polarity, the ADC bits, ResNet-9 on CIFAR-10, AnalogNet-KWS, what each part costs, and layer-serial speed.",
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
        *_workload("resnet9-cifar10", "ResNet-9 on CIFAR-10 images, two cores"),
        *_workload("kws", "AnalogNet-KWS on speech commands, one 1024x512 array"),
        *_ablation("resnet9-cifar10", "ResNet-9"),
        *_ablation("kws", "AnalogNet-KWS"),
        *_speed(),
        *physics(),
        *_link(),
        *_faults(),
        *_fuzz(),
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


METHODS = {"verify": "verify", "gdp": "gradient descent"}
AGES = {0.0: "t0", 3600.0: "1 h", DAY_S: "1 day", 30 * DAY_S: "30 days"}


def _workload(name: str, title: str) -> list[str]:
    """Return the tables of a workload and an empty line; nothing, where it was not measured yet."""
    if not (FOLDER / f"{name}.json").exists():
        return []
    document = _load(f"{name}.json")
    plan, points = document["plan"], document["spreads"]
    ages = list(dict.fromkeys(p["age_s"] for p in points))
    rows = list(dict.fromkeys((p["method"], p["compensation"]) for p in points))
    samples, chips = document["runs"][0]["samples"], len(document["runs"])
    lines = [
        f"**{title}**, {samples} test samples, {chips} chips: accuracy in %; software "
        f"{100 * document['software_accuracy']:.2f}. {100 * plan['utilisation']:.2f} % of the cells, "
        f"{plan['mvms']:,} MVMs and {1e6 * plan['chip_s']:.1f} µs of chip time per sample.",
        "",
        "| method, compensation | " + " | ".join(AGES[a] for a in ages) + " |",
        "|---|" + "---|" * len(ages),
    ]
    for method, way in rows:
        cells = [
            f"{100 * p['accuracy']:.1f} ± {100 * p['accuracy_half']:.1f}"
            for p in points
            if (p["method"], p["compensation"]) == (method, way)
        ]
        lines.append(f"| {METHODS[method]}, {way} | " + " | ".join(cells) + " |")
    judged = document["recipe_in_force"]["goal"]["compensation"]
    for way in dict.fromkeys((judged, "global")):
        gains = [d["paired"] for d in document["differences"] if d["compensation"] == way]
        losses = [
            d["paired"]
            for d in document["losses"]
            if (d["method"], d["compensation"]) == ("gdp", way)
        ]
        for words, found in (
            ("Gradient descent minus verify", gains),
            ("Gradient descent minus software", losses),
        ):
            said = (
                f"{100 * p['mean']:+.2f} ± {100 * (p['chips_half'] or 0.0):.2f} ({AGES[a]})"
                for a, p in zip(ages, found, strict=True)
            )
            lines += [
                "",
                f"{words}, {way}, points and 95 % interval over chips: " + ", ".join(said) + ".",
            ]
    return [*lines, ""]


def _ablation(name: str, title: str) -> list[str]:
    """Return the table of an ablation and an empty line; nothing, where none was made yet."""
    if not (FOLDER / f"ablation-{name}.json").exists():
        return []
    document = _load(f"ablation-{name}.json")
    ages, method = document["ages_s"], document["goal_method"]
    judged = document["goal_compensation"]
    lines = [
        f"**What each part costs, {title}** ({METHODS[method]}, {judged}, {document['samples']} samples, "
        f"{len(document['chips'])} chips): accuracy in %, and its change against the reference.",
        "",
        "| variant | " + " | ".join(AGES[a] for a in ages) + " |",
        "|---|" + "---|" * len(ages),
    ]
    words = {v["name"]: v["words"] for v in document["variants"]}
    rows = [r for r in document["rows"] if r["method"] == method]
    for variant, way in dict.fromkeys((r["variant"], r["compensation"]) for r in rows):
        if way != judged and variant not in ("reference", "compensation"):
            continue
        mine = {r["age_s"]: r for r in rows if (r["variant"], r["compensation"]) == (variant, way)}
        cells = [_change(mine[age]) if age in mine else "" for age in ages]
        said = words.get(variant, variant) if way == judged else f"compensation {way}"
        lines.append(f"| {said} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _change(row: Any) -> str:  # noqa: ANN401 - a row of a document
    accuracy = f"{100 * row['accuracy']:.1f}"
    change = row["change"]
    return accuracy if change is None else f"{accuracy} ({100 * change['mean']:+.1f})"


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
    inference = [
        f"{words} {run['ratio']:.1f} times the plain torch network's time at batch {run['batch']} "
        f"({run['samples_per_s']:.0f} samples/s, {run['peak_bytes'] / 1e6:.0f} MB more memory)"
        for name, words in (("resnet9-cifar10", "ResNet-9"), ("kws", "AnalogNet-KWS"))
        if (FOLDER / f"bench-inference-{name}.json").exists()
        for run in [_load(f"bench-inference-{name}.json")]
    ]
    return [
        "**Speed.** A full non-ideal 512x512 MVM over a plain torch product of the same size, same run: "
        f"{ratios}.",
        *(
            [f"Layer-serial inference on the simulator, one thread: {'; '.join(inference)}."]
            * bool(inference)
        ),
        f"One 256x256 core by gradient descent: {programs}; with twice the iterations the error is no higher.",
        f"Through the encoded protocol: {loopback['ratio']:.1f} times the time, all {loopback['verbs']} verbs "
        f"{'equal' if loopback['bit_equal'] else 'NOT equal'} bit for bit.",
    ]


def _link() -> list[str]:
    """Return the tables of a board's line; nothing, where it was not measured yet."""
    if not (FOLDER / "link.json").exists():
        return []
    document = _load("link.json")
    shares = ", ".join(
        f"{100 * e['request']:.1f} / {100 * e['reply']:.1f} % ({e['batch']})"
        for e in document["efficiency"]
    )
    lines = [
        "",
        "**A board's line.** The protocol alone between two Python processes over a loopback socket, a core that",
        "answers at once, vectors of 256 codes of 8 bits in and out; MB/s each way, both ways at the same time.",
        "",
        "| vectors a request | requests under way | requests/s | MB/s each way | processor time, host / device |",
        "|---|---|---|---|---|",
        *(
            f"| {r['batch']} | {r['window']} | {r['requests_per_s']:,.0f} | {r['sent_mb_per_s']:.1f} | "
            f"{_micro(r['host_cpu_s'])} / {_micro(r['device_cpu_s'])} |"
            for r in document["rates"]
        ),
        "",
        "| one request | host encodes | wire | device decodes | executes | encodes | host decodes | round trip |",
        "|---|---|---|---|---|---|---|---|",
        *(_parts(p) for p in document["parts"]),
        "",
        f"Codes over bytes on the line, request / reply, by vectors a request: {shares}.",
    ]
    serial = document["serial"]
    if serial is not None:
        lines.append(
            f"A `hil emulate` board at a pseudo-terminal of {serial['baud'] / 1e6:g} Mbaud, through the whole driver: "
            f"{100 * serial['share']:.1f} % of what the line carries, {100 * serial['payload_share']:.1f} % of it codes."
        )
    return lines


def _parts(part: Any) -> str:  # noqa: ANN401 - a row of a document
    names = (
        "host_encode_s",
        "wire_s",
        "device_decode_s",
        "execute_s",
        "device_encode_s",
        "host_decode_s",
    )
    cells = " | ".join(_micro(part[name]) for name in (*names, "round_trip_s"))
    return f"| {part['batch']} vector{'s' * (part['batch'] > 1)} | {cells} |"


def _micro(seconds: float) -> str:
    return f"{1e6 * seconds:,.0f} µs"


FAULTS = {
    "lost": "lost",
    "flipped": "with a bit turned",
    "duplicated": "twice",
    "split": "in parts",
    "delayed": "held up",
    "reordered": "overtaken",
}
OUTCOMES = {
    "requests": "requests",
    "mutations": "of them pulse requests",
    "answered": "answered",
    "unknown": "effect unknown after a reset, then settled",
    "resets": "resets in mid-program",
    "repeats": "times asked again",
    "wrong": "wrong replies",
    "twice": "pulses applied twice",
    "unended": "requests without an outcome",
}


def _faults() -> list[str]:
    """Return the table of faults; nothing, where it was not measured yet."""
    if not (FOLDER / "faults.json").exists():
        return []
    document = _load("faults.json")
    parts = document["parts"]
    counts = [
        *(
            (f"frames {words}", [p["faults"][name] for p in parts])
            for name, words in FAULTS.items()
        ),
        *((words, [p[name] for p in parts]) for name, words in OUTCOMES.items()),
    ]
    return [
        "",
        f"**Faults.** Each kind strikes {100 * document['rate']:g} % of the frames, both directions.",
        "",
        "| | " + " | ".join(p["part"] for p in parts) + " |",
        "|---" * (1 + len(parts)) + "|",
        *(
            f"| {words} | " + " | ".join(f"{n:,}" for n in numbers) + " |"
            for words, numbers in [("frames", [p["faults"]["frames"] for p in parts]), *counts]
        ),
    ]


def _fuzz() -> list[str]:
    """Return the sentence on fuzzing; nothing, where it was not done yet."""
    if not (FOLDER / "fuzz.json").exists():
        return []
    document = _load("fuzz.json")
    said = (
        f"{t['target']}: {t['cases']:,} inputs in {t['seconds'] / 60:.0f} min, {t['failures']} findings, "
        f"at most {t['peak_bytes']:,} bytes held"
        for t in document["targets"]
    )
    return ["", f"**Fuzzing.** {'; '.join(said)}."]


if __name__ == "__main__":
    print(section())  # noqa: T201 - this is what the tool is for
