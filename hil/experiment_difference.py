"""Which method is better, and what the chip costs: paired differences at every point of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.experiment_answers import Answers
from hil.experiment_results import SOFTWARE, Difference
from hil.paired import paired_difference

__all__ = ["differences_of", "losses_of"]


def differences_of(chips: Sequence[Answers], method: str) -> tuple[Difference, ...]:
    """Compare `method` with every other one at each age, with each compensation.

    Args:
        chips: The answers of each chip; all with the same points and samples.
        method: Method that is judged.
    """
    keys = chips[0].keys
    return tuple(
        _difference(chips, key, other)
        for other in dict.fromkeys(m for m, _, _ in keys if m != method)
        for key in keys
        if key[0] == method
    )


def losses_of(chips: Sequence[Answers]) -> tuple[Difference, ...]:
    """Compare every method with software at each age, with each compensation."""
    return tuple(_difference(chips, key, SOFTWARE) for key in chips[0].keys)


def _difference(
    chips: Sequence[Answers], key: tuple[str, float, str], to_method: str
) -> Difference:
    method, age_s, compensation = key
    right = np.stack([answers.right(key) for answers in chips])
    other = np.stack(
        [
            answers.software_right
            if to_method == SOFTWARE
            else answers.right((to_method, age_s, compensation))
            for answers in chips
        ]
    )
    return Difference(
        method=method,
        to_method=to_method,
        age_s=age_s,
        compensation=compensation,
        paired=paired_difference(right, other),
    )
