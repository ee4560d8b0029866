"""How costs of a plan are shown: link, chip time, pulses, wear. Numbers come from `plan_costs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.cli_output import duration_text, say, table

if TYPE_CHECKING:
    from hil.plan_costs import LinkCost, MethodCost, PlanCosts

__all__ = ["show_costs"]


def show_costs(costs: PlanCosts) -> None:
    """Write what programming costs by each method, the link's part of a sample, and the wear."""
    heads = (
        *("programming", "pulses", "at worst", "per device", "most", "at worst", "chip time"),
        *("MB out", "MB in", "link time"),
    )
    table("", heads, [_row(method) for method in costs.methods])
    if any(method.rehearsed for method in costs.methods):
        say("pulses: rehearsed on a small simulated chip of the same model")
    if costs.bytes_per_s is None:
        say("link: no rate is known; give --link-rate, or an address with baud")
    else:
        say(f"link: {costs.bytes_per_s:,.0f} bytes/s each way")
    if costs.sample is not None:
        say(f"one sample on the link: {_link_words(costs.sample)}")
    _say_wear(costs)


def _say_wear(costs: PlanCosts) -> None:
    wear = costs.wear
    before = f"{wear.pulses:,} pulses so far, most of a device {wear.most_of_a_device:,}"
    after = wear.predicted_of_a_device
    say(
        f"wear: {before if wear.kept else 'no ledger, taken as new'}; after this most of a device "
        f"{'as the chip will tell' if after is None else format(after, ',')}"
    )
    given = {k: v for k, v in wear.budget.model_dump().items() if v is not None}
    budgets = ", ".join(f"{name} {value:,}" for name, value in given.items()) or "no budget"
    say(f"limits: {wear.limits}: {budgets}")
    for sentence in wear.exceeded:
        say(f"over budget, programming would stop: {sentence}")


def _row(method: MethodCost) -> tuple[str, ...]:
    link = method.link
    return (
        method.method,
        _count(method.pulses),
        f"{method.worst_pulses:,}",
        "-" if method.pulses_per_device is None else f"{method.pulses_per_device:.2f}",
        _count(method.most_per_device),
        f"{method.worst_per_device:,}",
        "-" if method.chip_s is None else duration_text(method.chip_s),
        "-" if link is None else f"{link.bytes_out / 1e6:.2f}",
        "-" if link is None else f"{link.bytes_in / 1e6:.2f}",
        "-" if link is None or link.link_s is None else duration_text(link.link_s),
    )


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _link_words(link: LinkCost) -> str:
    time = "" if link.link_s is None else f", {duration_text(link.link_s)}"
    return f"{link.bytes_out:,} bytes out, {link.bytes_in:,} in{time}"
