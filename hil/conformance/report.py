"""The report of a run of the suite: what answered, each law, the pulses it cost. Data and words."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hil.info import ChipInfo

__all__ = [
    "ConformanceReport",
    "Law",
    "LawOutcome",
    "gist_of",
    "markdown_of",
    "summary_of",
    "title_of",
]


class LawOutcome(StrEnum):
    """What became of a law."""

    PASSED = "pass"
    FAILED = "fail"
    SKIPPED = "skipped"


class Law(BaseModel):
    """One law on one chip.

    Attributes:
        chapter: What the law is about, the test module's last word.
        law: The law as a sentence.
        case: Which case of it, where it has several.
        outcome: Pass, fail or skipped.
        reason: Why it failed or was skipped.
        pulses: Pulses it sent.
        took_s: Wall time, s.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chapter: str
    law: str
    case: str
    outcome: LawOutcome
    reason: str
    pulses: int
    took_s: float


class ConformanceReport(BaseModel):
    """What a lab attaches: which chip, which software, which laws held.

    Attributes:
        schema_version: Version of this document.
        address: Address the suite was run on.
        chip: What the chip said of itself.
        quiet: Equal requests give equal codes: the exact laws were run.
        pulses_allowed: Silicon could be pulsed.
        versions: Versions of this software and what it stands on.
        started_at: Coordinated universal time, ISO 8601.
        laws: Every law, in the order it was run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    address: str
    chip: ChipInfo
    quiet: bool
    pulses_allowed: bool
    versions: dict[str, str]
    started_at: str
    laws: tuple[Law, ...]

    def count(self, outcome: LawOutcome) -> int:
        """Laws with this outcome."""
        return sum(law.outcome is outcome for law in self.laws)

    @property
    def pulses(self) -> int:
        """Pulses that the whole run sent."""
        return sum(law.pulses for law in self.laws)

    @property
    def passed(self) -> bool:
        """At least one law was tried and none failed."""
        return self.count(LawOutcome.FAILED) == 0 and self.count(LawOutcome.PASSED) > 0


def summary_of(report: ConformanceReport) -> str:
    """Say in one sentence what was found."""
    passed, failed, skipped = (report.count(o) for o in LawOutcome)
    verdict = "conforms" if report.passed else "does not conform"
    return (
        f"{report.chip.model}, chip {report.chip.serial} ({report.chip.backend.value}) {verdict}: "
        f"{passed} laws hold, {failed} do not, {skipped} were skipped; {report.pulses} pulses sent"
    )


def markdown_of(report: ConformanceReport) -> str:
    """Write the report as a page to attach: verdict, identity, failures, every law."""
    core = report.chip.cores[0]
    identity = [
        ("address", report.address),
        ("chip serial", report.chip.serial),
        ("back-end", report.chip.backend.value),
        ("model", report.chip.model),
        ("cores", f"{len(report.chip.cores)} of {core.rows} x {core.cols}"),
        ("devices per polarity", str(core.devices_per_polarity)),
        ("capabilities", ", ".join(sorted(c.value for c in core.capabilities)) or "none"),
        ("firmware or simulator", _pairs(core.versions)),
        ("software", _pairs(report.versions)),
        ("noise and drift", "none: exact laws" if report.quiet else "yes: laws of means"),
        ("pulses on silicon", "allowed" if report.pulses_allowed else "not allowed"),
        ("pulses sent", str(report.pulses)),
        ("started", report.started_at),
    ]
    lines = ["# Conformance report", "", f"{summary_of(report)}.", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in identity]
    failures = [law for law in report.laws if law.outcome is LawOutcome.FAILED]
    if failures:
        lines += ["", "## Laws that do not hold", ""]
        for law in failures:
            lines += [f"### {title_of(law)}", "", "```", law.reason, "```", ""]
    lines += ["", "## Every law", "", "| about | law | outcome | pulses | reason |"]
    lines += ["|---|---|---|---|---|"]
    for law in report.laws:
        reason = law.reason if law.outcome is LawOutcome.SKIPPED else ""
        lines.append(
            f"| {law.chapter} | {_cell(title_of(law))} | {law.outcome.value} | {law.pulses} | "
            f"{_cell(reason)} |"
        )
    return "\n".join(lines) + "\n"


def title_of(law: Law) -> str:
    """The law with its case."""
    return f"{law.law} ({law.case})" if law.case else law.law


def gist_of(law: Law) -> str:
    """The sentence of a failure: the first line that tells what was found."""
    lines = law.reason.strip().splitlines()
    told = [line.removeprefix("E").strip() for line in lines if line.startswith("E  ")]
    return (told or lines or [""])[0]


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
