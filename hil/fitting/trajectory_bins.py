"""Laws that fit the reads of devices grouped by where their reads say that they landed.

Within a bin all devices count as landed at its mean, so that second moments of their reads suffice;
where each one landed is eliminated (restricted maximum likelihood; Harville, JASA 72, 320 (1977)),
and the rest maximised by Fisher scoring. The error of a landing bends the laws by a few per cent,
which `trajectories` measures and takes off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hil.fitting.estimates import Array
from hil.fitting.trajectory_laws import LADDER, Layout
from hil.fitting.trajectory_model import TimeAxis, covariance, derivatives

__all__ = ["BinnedFit", "binned_fit", "sandwich"]

BINS = 48
SCORINGS = 25
REBINNINGS = 3
NODES = 9
"""Nodes of the average over the error of a landing."""
CONVERGED = 0.05
"""Scoring ends when no parameter moves by more than this many standard errors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bins:
    """Devices grouped by where they landed: r and count (B,), moments (B, K, K)."""

    r: Array
    count: Array
    moments: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class _Solved:
    """V^-1 h, its norm h' V^-1 h, and the projector P = V^-1 - V^-1 h h' V^-1 / norm."""

    weights: Array
    norm: Array
    projector: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class BinnedFit:
    """Parameters (size,), where each device landed over g_max (n,), and the bins."""

    theta: Array
    landed: Array
    bins: Bins


def binned_fit(
    axis: TimeAxis, lay: Layout, y: Array, noise: float, start: Array | None = None
) -> BinnedFit:
    """Fit the reads y (n, K) with converter variance `noise`, from `start` if it is given."""
    theta = lay.guess() if start is None else start
    early = axis.age_s <= max(axis.t0_s, float(axis.age_s[0]))
    landed = y[:, early].mean(axis=1)
    for _ in range(REBINNINGS):
        bins = _binned(y, landed)
        theta = _maximised(axis, lay, bins, theta, noise)
        solved = _solved(axis, lay, bins, theta, noise)
        found = np.empty_like(landed)
        for k, group in enumerate(_groups(landed)):
            found[group] = y[group] @ solved.weights[k] / solved.norm[k]
        landed = found
    bins = _binned(y, landed)
    return BinnedFit(theta=_maximised(axis, lay, bins, theta, noise), landed=landed, bins=bins)


def sandwich(axis: TimeAxis, lay: Layout, y: Array, fit: BinnedFit, noise: float) -> Array:
    """Covariance of the parameters, from the scatter of the devices' own scores (White 1982)."""
    bins, theta = fit.bins, fit.theta
    _, information = _scores(axis, lay, bins, theta, noise)
    solved = _solved(axis, lay, bins, theta, noise)
    noises = np.full(bins.r.size, noise)
    means, covariances = derivatives(axis, bins.r, lay.laws_at(theta, bins.r), noises)
    chain = lay.chain_of(bins.r)
    total = np.zeros((theta.size, theta.size))
    for k, group in enumerate(_groups(fit.landed)):
        p = solved.projector[k]
        seen = y[group] @ p
        level = y[group] @ solved.weights[k] / solved.norm[k]
        scores = np.zeros((group.size, theta.size))
        for (part, hats), slope, change in zip(chain, means, covariances, strict=True):
            own = 0.5 * np.einsum("nk,nk->n", seen @ change[k], seen)
            own -= 0.5 * np.trace(p @ change[k])
            own += level * (seen @ slope[k])
            scores[:, part] = own[:, None] * hats[k]
        total += scores.T @ scores
    inverse = np.linalg.inv(information + np.diag(1e-9 * np.diag(information) + 1e-9))
    blur = np.linalg.inv(_blur(lay, bins, solved))
    return np.asarray(blur @ inverse @ total @ inverse @ blur.T)


def _blur(lay: Layout, bins: Bins, solved: _Solved) -> Array:
    """What the binned fit makes of laws at the knots: the error of landings mixes neighbours.

    Taking the mixing off makes errors larger, by the inverse of this.
    """
    z, weights = np.polynomial.hermite_e.hermegauss(NODES)
    nodes = np.maximum(bins.r[:, None] + z / np.sqrt(solved.norm)[:, None], LADDER[0] / 3)
    root = np.sqrt(bins.count)[:, None]
    result = np.eye(lay.size)
    there = lay.chain_of(nodes.ravel())
    for (place, hats), (_, mixed) in list(zip(lay.chain_of(bins.r), there, strict=True))[:4]:
        mean = np.einsum("j,bjk->bk", weights / weights.sum(), mixed.reshape(*nodes.shape, -1))
        result[place, place] = np.linalg.lstsq(root * hats, root * mean, rcond=None)[0]
    return result


def _groups(landed: Array) -> list[npt.NDArray[np.intp]]:
    count = min(BINS, max(4, landed.size // 12))
    return list(np.array_split(np.argsort(landed), count))


def _binned(y: Array, landed: Array) -> Bins:
    groups = _groups(landed)
    return Bins(
        r=np.maximum(np.array([landed[g].mean() for g in groups]), LADDER[0] / 3),
        count=np.array([g.size for g in groups], np.float64),
        moments=np.stack([y[g].T @ y[g] for g in groups]),
    )


def _solved(axis: TimeAxis, lay: Layout, bins: Bins, theta: Array, noise: float) -> _Solved:
    noises = np.full(bins.r.size, noise)
    mean, spread = covariance(axis, bins.r, lay.laws_at(theta, bins.r), noises)
    inverse = np.linalg.inv(spread)
    weights = np.einsum("bkl,bl->bk", inverse, mean)
    norm = np.einsum("bk,bk->b", weights, mean)
    projector = inverse - weights[:, :, None] * weights[:, None, :] / norm[:, None, None]
    return _Solved(weights=weights, norm=norm, projector=projector)


def _scores(
    axis: TimeAxis, lay: Layout, bins: Bins, theta: Array, noise: float
) -> tuple[Array, Array]:
    """Score (size,) and Fisher information (size, size) of all devices."""
    solved = _solved(axis, lay, bins, theta, noise)
    noises = np.full(bins.r.size, noise)
    means, covariances = derivatives(axis, bins.r, lay.laws_at(theta, bins.r), noises)
    p = solved.projector
    seen = p @ bins.moments @ p
    across = np.einsum("bkm,bm->bk", p @ bins.moments, solved.weights) / solved.norm[:, None]
    rotated = [p @ one for one in covariances]
    chain = lay.chain_of(bins.r)
    score = np.zeros(theta.size)
    information = np.zeros((theta.size, theta.size))
    for a, (part_a, hats_a) in enumerate(chain):
        own = 0.5 * np.einsum("bkl,bkl->b", seen, covariances[a])
        own -= 0.5 * bins.count * np.einsum("bkk->b", rotated[a])
        own += np.einsum("bk,bk->b", means[a], across)
        score[part_a] += hats_a.T @ own
        for b, (part_b, hats_b) in enumerate(chain):
            joint = 0.5 * np.einsum("bkl,blk->b", rotated[a], rotated[b])
            joint += bins.r**2 * np.einsum("bk,bkl,bl->b", means[a], p, means[b])
            information[part_a, part_b] += (hats_a * (bins.count * joint)[:, None]).T @ hats_b
    return score, information


def _maximised(axis: TimeAxis, lay: Layout, bins: Bins, theta: Array, noise: float) -> Array:
    for _ in range(SCORINGS):
        score, information = _scores(axis, lay, bins, theta, noise)
        information += np.diag(1e-9 * np.diag(information) + 1e-9)
        moved = lay.bounded(theta, theta + np.linalg.solve(information, score))
        errors = np.sqrt(np.diag(np.linalg.inv(information)))
        small = np.abs(moved - theta) < CONVERGED * errors
        theta = moved
        if small.all():
            break
    return theta
