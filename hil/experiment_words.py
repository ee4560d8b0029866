"""Words for what an experiment found: names, ages, intervals, sentences. Runs nothing."""

from __future__ import annotations

from hil.experiment_results import SOFTWARE, Difference, Point, Spread
from hil.paired import PairedDifference

__all__ = [
    "METHOD_NAMES",
    "age_text",
    "compensation_text",
    "difference_sentence",
    "duration_text",
    "method_text",
    "paired_text",
    "percent_text",
    "verdict",
]

METHOD_NAMES = {
    "gdp": "gradient descent",
    "verify": "program-and-verify",
    "open_loop": "one open-loop pulse",
    SOFTWARE: "software",
}
"""Programming methods in words."""

_AGE_UNITS = ((86_400.0, "day", "days"), (3_600.0, "h", "h"), (60.0, "min", "min"))


def method_text(method: str) -> str:
    """Name a programming method."""
    return METHOD_NAMES.get(method, method)


def compensation_text(compensation: str) -> str:
    """Name a drift compensation."""
    return compensation.replace("_", "-")


def age_text(age_s: float) -> str:
    """Write an age in the largest unit that gives at least one: 0 s, 200 s, 1 h, 3.5 days."""
    for size, one, many in _AGE_UNITS:
        if age_s >= size and not (one == "min" and age_s % size):
            number = age_s / size
            return f"{number:.3g} {one if number == 1 else many}"
    return f"{age_s:.4g} s"


def duration_text(seconds: float) -> str:
    """Write a duration in the unit a person would take: 3.1 days, 12.4 s, 1.5 ms, 130 ns."""
    for size, unit in ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    if seconds >= 0.1 or seconds == 0:
        return f"{seconds:.1f} s"
    for size, unit in ((1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1e9 * seconds:.3g} ns"


def percent_text(value: float, half: float | None) -> str:
    """Write a share in percent, with half its interval if there is one."""
    return f"{100 * value:.2f}" + ("" if half is None else f" ± {100 * half:.2f}")


def paired_text(paired: PairedDifference) -> str:
    """Write a difference in points of accuracy with its interval: over chips, else samples."""
    if paired.chips_half is not None:
        return f"{100 * paired.mean:+.2f} ± {100 * paired.chips_half:.2f}"
    return f"{100 * paired.mean:+.2f} ({100 * paired.low:+.2f} to {100 * paired.high:+.2f})"


def difference_sentence(difference: Difference, sample_word: str) -> str:
    """Say by how much one method beats another, and whether that could be chance."""
    paired = difference.paired
    name, other = method_text(difference.method), method_text(difference.to_method)
    low, high = 100 * paired.samples_low, 100 * paired.samples_high
    chips = ""
    if paired.chips_half is not None:
        chips = f"± {100 * paired.chips_half:.2f} over {paired.chips} chips, "
    elif paired.chips > 1:
        chips = f"the same on {paired.chips} chips, "
    return (
        f"After {age_text(difference.age_s)} with compensation "
        f"{compensation_text(difference.compensation)}, {name} minus {other}: "
        f"{100 * paired.mean:+.2f} points (95 %: {chips}{low:+.2f} to {high:+.2f} over "
        f"{paired.samples:,} {sample_word}); "
        f"{'excludes' if paired.excludes_zero else 'does not exclude'} zero."
    )


def verdict(
    points: tuple[Point, ...] | tuple[Spread, ...],
    *,
    software_accuracy: float,
    method: str,
    compensation: str,
    max_accuracy_loss: float,
) -> tuple[bool, str]:
    """Judge a method with a compensation against the goal at every age; say it.

    Returns:
        Whether the goal was met, and the sentence to show.
    """
    judged = [p for p in points if (p.method, p.compensation) == (method, compensation)]
    if not judged:
        return False, "Nothing was measured."
    point = min(judged, key=lambda p: (p.accuracy, -p.age_s))
    met = software_accuracy - point.accuracy <= max_accuracy_loss + 1e-12
    words = (
        "without compensation"
        if compensation == "none"
        else f"with {compensation_text(compensation)} compensation"
    )
    half = point.accuracy_half if isinstance(point, Spread) else None
    spread = f" ± {half:.1%}" if half is not None else ""
    return met, (
        f"{'Goal met' if met else 'Goal not met'}: programmed by {method_text(method)}, the "
        f"network classifies {point.accuracy:.1%}{spread} correctly at its weakest age "
        f"({age_text(point.age_s)}, {words}); software reaches {software_accuracy:.1%}, and a loss "
        f"of {max_accuracy_loss * 100:.3g} points is allowed."
    )
