"""The laws of drift, noise and relaxation as one vector of values at knots. Knows no data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.fitting.estimates import Array, hat_weights
from hil.fitting.trajectory_model import Point

__all__ = ["LADDER", "Layout"]

LADDER = (0.05, 1.0)
"""Range of conductances over g_max in which the laws are measured."""
GUARD = 0.7
"""Devices as far below the ladder, as a factor, are used: the laws there have a knot of their own,
which is not reported."""
MANY_DEVICES = 5000
"""From so many devices on the knots are closer together."""


LEAST = 2e-4
"""No spread is taken below this: its variance would have no slope."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Knots of the laws, and where each law stands in the vector of parameters.

    Attributes:
        knots: Of mu, sd and Q: even in ln r at low r, where published curves bend, then in r. The
            first one is the guard.
        relaxation_knots: Of the spread of relaxation.
    """

    knots: Array
    relaxation_knots: Array

    @classmethod
    def for_devices(cls, n: int) -> Layout:
        """Take as many knots as n devices determine."""
        low = LADDER[0]
        if n < MANY_DEVICES:
            laws = np.r_[np.geomspace(low, 0.36, 5), 0.6, 0.8, LADDER[1]]
            relaxation = np.array([low, 0.1, 0.3, 0.5, 0.7, LADDER[1]])
        else:
            laws = np.r_[np.geomspace(low, 0.36, 8), 0.48, 0.6, 0.73, 0.86, LADDER[1]]
            relaxation = np.array([low, 0.1, 0.2, 0.3, 0.5, 0.7, LADDER[1]])
        return cls(knots=np.r_[GUARD * low, laws], relaxation_knots=relaxation)

    @property
    def mu(self) -> slice:
        """Means of the drift exponent."""
        return slice(0, self.knots.size)

    @property
    def sd(self) -> slice:
        """Its spreads."""
        return slice(self.knots.size, 2 * self.knots.size)

    @property
    def q(self) -> slice:
        """Read-noise coefficients."""
        return slice(2 * self.knots.size, 3 * self.knots.size)

    @property
    def relaxation(self) -> slice:
        """Spreads of relaxation."""
        return slice(3 * self.knots.size, self.memory)

    @property
    def memory(self) -> int:
        """Share of the noise that has a memory."""
        return 3 * self.knots.size + self.relaxation_knots.size

    @property
    def size(self) -> int:
        """Parameters in all."""
        return self.memory + 1

    def laws_at(self, theta: Array, r: Array) -> Point:
        """Laws at conductances r over g_max; above 1 the *absolute* noise of 1 holds."""
        hats = hat_weights(r, self.knots)
        return Point(
            mu=hats @ theta[self.mu],
            sd=hats @ theta[self.sd],
            q=hats @ theta[self.q] / np.maximum(r, 1.0),
            relaxation=hat_weights(r, self.relaxation_knots) @ theta[self.relaxation],
            memory=float(theta[self.memory]),
        )

    def chain_of(self, r: Array) -> tuple[tuple[slice, Array], ...]:
        """Derivatives of the laws at r by the knots: place in the vector, weights (n, knots)."""
        hats = hat_weights(r, self.knots)
        return (
            (self.mu, hats),
            (self.sd, hats),
            (self.q, hats / np.maximum(r, 1.0)[:, None]),
            (self.relaxation, hat_weights(r, self.relaxation_knots)),
            (slice(self.memory, self.memory + 1), np.ones((r.size, 1))),
        )

    def bounded(self, before: Array, moved: Array) -> Array:
        """Keep spreads positive, and steps within reason."""
        moved = moved.copy()
        for part in (self.sd, self.q, self.relaxation):
            moved[part] = np.clip(moved[part], 0.4 * before[part], 2.5 * before[part])
            moved[part] = np.maximum(moved[part], LEAST)
        moved[self.mu] = before[self.mu] + np.clip(moved[self.mu] - before[self.mu], -0.05, 0.05)
        moved[self.memory] = np.clip(moved[self.memory], -0.05, 1.0)
        return moved

    def guess(self) -> Array:
        """Values of the order of published ones, to start from."""
        theta = np.empty(self.size)
        theta[self.mu], theta[self.sd], theta[self.q] = 0.05, 0.015, 0.02
        theta[self.relaxation], theta[self.memory] = 0.03, 0.5
        return theta
