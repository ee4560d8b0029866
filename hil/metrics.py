"""Figures of merit: MVM error, affine fits, intervals. Pure numpy; knows no core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError

__all__ = ["AffineFit", "confidence_interval_95", "fit_affine", "mvm_error"]

Array = npt.NDArray[np.float64]


def mvm_error(measured: npt.ArrayLike, exact: npt.ArrayLike) -> float:
    """Mean over vectors of norm2(measured - exact) / norm2(exact), a fraction.

    The definition of the HERMES chip studies (Le Gallo et al. 2023, aihwkit notebook). It depends
    on the distributions of weights and inputs: always state both. Vectors whose exact result is
    zero are left out.

    Args:
        measured, exact: (batch, cols), the same unit.
    """
    got, want = np.asarray(measured, np.float64), np.asarray(exact, np.float64)
    if got.shape != want.shape or got.ndim != 2:
        raise RequestError(
            f"measured {got.shape} and exact {want.shape} must be equal, (batch, cols)"
        )
    norms = np.linalg.norm(want, axis=1)
    used = norms > 0
    if not used.any():
        raise RequestError("every exact result is zero, so a relative error has no meaning")
    return float(np.mean(np.linalg.norm(got - want, axis=1)[used] / norms[used]))


@dataclass(frozen=True, kw_only=True, eq=False)
class AffineFit:
    """Per-col correction: corrected = scale * measured + offset; both (cols,)."""

    scale: Array
    offset: Array
    success: npt.NDArray[np.bool_]

    def apply(self, measured: npt.ArrayLike) -> Array:
        """Correct (batch, cols) outputs; the unit of offset and of the result is the target's."""
        corrected: Array = np.asarray(measured, np.float64) * self.scale
        corrected += self.offset
        return corrected


def fit_affine(measured: npt.ArrayLike, exact: npt.ArrayLike) -> AffineFit:
    """Fit exact = scale * measured + offset per col by least squares.

    Least squares minimises the error and shrinks the magnitude by about 1 / (1 + err^2). A col
    whose measured output does not vary or is not positively related to the exact one keeps
    scale 1, takes the mean residual as offset, and is marked as not successful.

    Args:
        measured, exact: (batch, cols), batch >= 2.
    """
    x, y = np.asarray(measured, np.float64), np.asarray(exact, np.float64)
    if x.shape != y.shape or x.ndim != 2 or x.shape[0] < 2:
        raise RequestError(
            f"an affine fit needs two equal (batch >= 2, cols) arrays, not {x.shape}, {y.shape}"
        )
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    dx = x - mean_x
    var = np.einsum("bc,bc->c", dx, dx)
    cov = np.einsum("bc,bc->c", dx, y - mean_y)
    ok = (var > 0) & (cov > 0)
    scale = np.where(ok, cov / np.where(var > 0, var, 1.0), 1.0)
    return AffineFit(scale=scale, offset=mean_y - scale * mean_x, success=ok)


def confidence_interval_95(values: npt.ArrayLike) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (Student t); half-width is inf for one value."""
    from scipy.stats import t  # noqa: PLC0415 - keeps `import hil` light

    sample = np.asarray(values, np.float64).ravel()
    if sample.size < 2:
        return float(sample.mean()), float("inf")
    half = (
        float(t.ppf(0.975, sample.size - 1))
        * float(sample.std(ddof=1))
        / float(np.sqrt(sample.size))
    )
    return float(sample.mean()), half
