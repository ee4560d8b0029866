"""1/f noise of a device as a function of time: hashed, so no stream and no state. Knows no siemens.

Relative noise with density Q^2 / f from 1 / (T + t_r) to 1 / (2 t_r) has the published variance
Q^2 ln((T + t_r) / (2 t_r)). Here it is a sum of components, each a standard normal deviate that is
held for a time and then drawn anew. A component held for D has the autocovariance 1 - tau / D, so
that a band of hold times up to D has ln(D / tau) - 1, where frequencies down to f have
-Ci(2 pi f tau) = ln(1 / (f tau)) - gamma - ln(2 pi): the hold time that stands for f is 0.243 / f.
Components are a factor of 4 apart; each stands for the hold times within a factor of 2 of its own,
and its variance is the logarithm of what the law's band takes of them.

A deviate is a hash of (key of the core, device, pulses it has had, component, number of the hold).
So a device has one trajectory from pulse to pulse, whoever reads it, when and in which order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor

from hil.errors import RequestError
from sim_backend.deviates import SLICES, slice_means

__all__ = ["HOLD_TIMES_FREQUENCY", "MATRIX_HOLD_S", "Band", "FlickerNoise", "Reading"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Word = npt.NDArray[np.uint32]

HOLD_TIMES_FREQUENCY = math.exp(1.0 - np.euler_gamma) / (2.0 * math.pi)
"""Hold time that stands for a frequency, times that frequency: 0.2429 [der, above]."""
MATRIX_HOLD_S = 1e-3
"""Hold time of component 0, s. It and slower ones belong to the devices that an MVM multiplies by;
faster ones are drawn anew for every vector."""
RATIO = 4.0
"""Hold time of a component over the next faster one's: R(tau) ripples by -0.16...+0.08 Q^2."""
LN_RATIO = np.float32(math.log(RATIO))
FASTEST, SLOWEST = -24, 24
"""Numbers of the components that may be needed: 3.6 as to 9 million years."""
ALL_COMPONENTS = range(SLOWEST, FASTEST - 1, -1)
"""Slowest first."""
EDGE_LN_S = math.log(MATRIX_HOLD_S / math.sqrt(RATIO))
"""Logarithm of the shortest hold time, s, that component 0 stands for."""
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0

LEVELS = ((0, 1), (1, 2), (2, 4), (4, 8), (8, SLOWEST + 1))
"""Components summed up together, fastest first: a level is done anew when one of it has changed."""
DEVICES_AT_ONCE = 65536
"""About so many devices are done in one go: what is worked on stays in the cache."""
FEW = 0.25
"""Devices that were pulsed or have aged are done one by one up to this share, else by the line."""

MIX_FIRST, MIX_SECOND = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
"""Multipliers of an integer hash with little bias (C. Wellons, "lowbias32") [code]."""
STRIDE = 0x9E3779B9
"""2^32 times the golden ratio: spreads successive numbers."""
LOW_WORD = (1 << 32) - 1
OUTERMOST = np.uint32(1 << 16)
"""Words below it, and as many at the other end, choose the outermost slices."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """Hold times that the noise of a read is made of, and the variance within parts of them.

    Attributes:
        t_read_s: Read time t_r of the law, s.
    """

    t_read_s: float

    @cached_property
    def shortest_s(self) -> float:
        """Hold time that stands for the highest frequency, 1 / (2 t_r), s."""
        return HOLD_TIMES_FREQUENCY * 2.0 * self.t_read_s

    def longest_s(self, age_s: float) -> float:
        """Hold time that stands for the lowest frequency at age T, 1 / (T + t_r), s."""
        return HOLD_TIMES_FREQUENCY * (age_s + self.t_read_s)

    def variance(
        self, age_s: float, *, slower_than_s: float = 0.0, faster_than_s: float = math.inf
    ) -> float:
        """Variance, in units of Q^2, of the components held between two times, at age T (s).

        Without limits it is the law's ln((T + t_r) / (2 t_r)). Frequencies f above or below a limit
        are those with hold times 0.243 / f.

        Raises:
            RequestError: A limit is shorter than the law knows of: its reads take t_r.
        """
        for limit_s in (slower_than_s, faster_than_s):
            if 0.0 < limit_s < self.shortest_s:
                raise RequestError(
                    f"noise held for {limit_s} s is faster than a read time of {self.t_read_s} s "
                    f"shows; give {self.shortest_s:.3g} s or more"
                )
        low = max(slower_than_s, self.shortest_s)
        high = min(faster_than_s, self.longest_s(age_s))
        return max(0.0, math.log(high / low))


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """Noise of listed devices, averaged over the samples of one read, in units of Q; (n,) each.

    Attributes:
        held: What the devices bring with them.
        fresh_variance: Variance of what changes faster than the read takes.
    """

    held: Float32
    fresh_variance: Float32


class FlickerNoise:
    """Trajectories of the devices of one core, in units of Q.

    Args:
        shape: (devices, rows, cols).
        band: Hold times of the law.
        key: What tells this core from all others, 64 bits.
    """

    def __init__(self, *, shape: tuple[int, int, int], band: Band, key: int) -> None:
        self._shape = shape
        self.band = band
        devices, rows, cols = shape
        lines = devices * rows
        self._key_low, self._key_high = key & LOW_WORD, (key >> 32) & LOW_WORD
        number = np.arange(lines * cols, dtype=np.int64)
        self._base: Word = self._hashed(number, np.zeros_like(number)).reshape(lines, cols)
        self._components = np.arange(FASTEST, SLOWEST + 1)
        self._hold_s: Float64 = MATRIX_HOLD_S * RATIO ** self._components.astype(np.float64)
        # Devices of a line begin their holds together, those of different lines do not.
        offsets = _mixed(_words(self._components * STRIDE + self._key_high)) / 2.0**32
        self._phase = np.mod(offsets[:, None] + GOLDEN * np.arange(lines), 1.0)
        low = np.maximum(EDGE_LN_S + LN_RATIO * self._components, math.log(band.shortest_s))
        high = EDGE_LN_S + LN_RATIO * (self._components + 1)
        self._low_ln: Float32 = low.astype(np.float32)
        self._width_ln: Float32 = np.maximum(high - low, 0.0).astype(np.float32)
        self._sums: list[Float32] = [np.zeros((lines, cols), np.float32) for _ in LEVELS]
        self._index: Index = np.full((SLOWEST + 1, lines), -1, np.int64)
        self._changed = np.zeros((lines, cols), np.bool_)
        self._ln_longest: Float32 | None = None
        self._reach = np.zeros(lines, np.float32), np.zeros(lines, np.float32)

    def begin(self, number: Index, lives: Index) -> None:
        """Give devices, by flat number, the trajectory of a device that had so many pulses."""
        if number.size > 0:
            self._base.reshape(-1)[number] = self._hashed(number, lives)
            self._changed.reshape(-1)[number] = True

    def held(self, at_s: float, ln_longest: Float32) -> npt.NDArray[np.float32]:
        """Return what component 0 and slower ones add up to at `at_s`; a view, valid until asked.

        Args:
            at_s: Time, s: every hold time below 1 ms looks the same within one millisecond.
            ln_longest: ln of the longest hold time of every device, (devices, rows, cols). The same
                array stands for the same ages.
        """
        lines, cols = self._base.shape
        index = self._numbers(at_s)
        moved = index != self._index
        level = np.full(lines, -1)
        for k, (low, high) in enumerate(LEVELS):
            level[moved[low:high].any(axis=0)] = k
        longest = ln_longest.reshape(lines, cols)
        if ln_longest is not self._ln_longest:
            if self._ln_longest is not None:
                self._changed |= self._ln_longest.reshape(lines, cols) != longest
            self._ln_longest = ln_longest
            self._reach = longest.min(axis=1), longest.max(axis=1)
        self._index = index
        changed = np.flatnonzero(self._changed)
        if changed.size > FEW * longest.size:
            level[self._changed.any(axis=1)] = len(LEVELS) - 1
            changed = changed[:0]
        self._changed[:] = False
        words = _line_words(index, self._components[-FASTEST:])
        at_once = max(1, DEVICES_AT_ONCE // cols)
        for k in range(len(LEVELS) - 1, -1, -1):
            stale = np.flatnonzero(level >= k)
            for start in range(0, stale.size, at_once):
                # Component 0 is new in every line: slices copy nothing.
                every = slice(start, start + at_once)
                self._add_up(every if stale.size == lines else stale[every], k, words, longest)
        self._add_up_few(changed, words, longest)
        return self._sums[0].reshape(self._shape)

    def read(
        self, number: Index, now_s: float, *, samples: int, slot_s: float, ln_longest: Float32
    ) -> Reading:
        """Average `samples` reads of the listed devices, a slot apart, the last one at `now_s`.

        Components held for as long as the read takes or longer give the mean of the one or two
        deviates met on the way. Of faster ones every read sees others: exactly so for one sample,
        and for more but for a hold that reaches over the gap between two reads.

        Args:
            number: Flat numbers of the devices, (n,).
            now_s: Time of the last sample, s.
            samples: Samples of each device.
            slot_s: Time from sample to sample, s.
            ln_longest: ln of the longest hold time of each, (n,).
        """
        cols = self._shape[2]
        line = number // cols
        base = self._base.reshape(-1)[number]
        held = np.zeros(number.size, np.float32)
        fresh = np.zeros(number.size, np.float32)
        if number.size == 0:
            return Reading(held=held, fresh_variance=fresh)
        reach = (float(ln_longest.min()), float(ln_longest.max()))
        for k, variance in self._variances(lambda: ln_longest, reach, ALL_COMPONENTS):
            hold_s = self._hold_s[k - FASTEST]
            if hold_s < samples * slot_s:
                fresh += variance * _mean_variance(samples, slot_s / hold_s)
            else:
                held += np.sqrt(variance) * self._mean_deviate(
                    k, base, line, now_s, samples=samples, slot_s=slot_s
                )
        return Reading(held=held, fresh_variance=fresh)

    def _mean_deviate(
        self, k: int, base: Word, line: Index, now_s: float, *, samples: int, slot_s: float
    ) -> Float32:
        """Mean over the samples of a component that changes once at most meanwhile, (n,)."""
        hold_s = self._hold_s[k - FASTEST]
        position = now_s / hold_s + self._phase[k - FASTEST]
        index = np.floor(position)
        component = self._components[[k - FASTEST]]
        now = _line_words(index.astype(np.int64)[None], component)[0]
        z = _deviates(base + now[line])
        # Samples a whole number of slots before the last one, back to the beginning of the hold.
        within = np.floor((position - index) * (hold_s / slot_s)).astype(np.int64) + 1
        earlier = np.flatnonzero((within < samples)[line])
        if earlier.size:
            before = _line_words(index.astype(np.int64)[None] - 1, component)[0]
            where = line[earlier]
            share = (within[where] / samples).astype(np.float32)
            past = _deviates(base[earlier] + before[where])
            z[earlier] = share * z[earlier] + (1 - share) * past
        return z

    def _add_up(self, lines: Index | slice, level: int, words: Word, ln_longest: Float32) -> None:
        """Add the components of a level, slowest first, to what slower levels add up to."""
        base = self._base[lines]
        slower = level + 1 < len(LEVELS)
        total = self._sums[level + 1][lines] if slower else np.zeros(base.shape, np.float32)
        low, high = LEVELS[level]
        reach = (float(self._reach[0][lines].min()), float(self._reach[1][lines].max()))
        chosen = range(high - 1, low - 1, -1)
        for k, variance in self._variances(lambda: ln_longest[lines], reach, chosen):
            z = _deviates(base + words[k, lines, None])
            z *= np.sqrt(variance)
            z += total
            total = z
        self._sums[level][lines] = total

    def _add_up_few(self, number: Index, words: Word, ln_longest: Float32) -> None:
        """Add up all components of single devices, by flat number."""
        if number.size == 0:
            return
        line = number // self._shape[2]
        base, longest = self._base.reshape(-1)[number], ln_longest.reshape(-1)[number]
        reach = (float(longest.min()), float(longest.max()))
        total = np.zeros(number.size, np.float32)
        for level in range(len(LEVELS) - 1, -1, -1):
            low, high = LEVELS[level]
            chosen = range(high - 1, low - 1, -1)
            for k, variance in self._variances(lambda: longest, reach, chosen):
                z = _deviates(base + words[k][line])
                z *= np.sqrt(variance)
                total += z
            self._sums[level].reshape(-1)[number] = total

    def _variances(
        self, ln_longest: Callable[[], Float32], reach: tuple[float, float], components: range
    ) -> Iterator[tuple[int, Float32 | np.float32]]:
        """Those components that any of the devices has, with their variances.

        Args:
            ln_longest: Gives ln of the longest hold time of each device.
            reach: Least and largest of these.
            components: Which to go through, in this order.
        """
        least, most = reach
        for k in components:
            low, width = self._low_ln[k - FASTEST], self._width_ln[k - FASTEST]
            if width > 0 and most > low:
                whole = least - low >= width
                yield k, width if whole else np.clip(ln_longest() - low, 0, width)

    def _numbers(self, at_s: float) -> Index:
        """Number of the hold of component 0 and each slower one in each line."""
        position = at_s / self._hold_s[-FASTEST:, None] + self._phase[-FASTEST:]
        return np.floor(position).astype(np.int64)

    def _hashed(self, number: Index, lives: Index) -> Word:
        word = _mixed(_words(number * STRIDE + self._key_low))
        return _mixed(word ^ _mixed(_words(lives * STRIDE + self._key_high)))


def _mean_variance(samples: int, slot_in_holds: float) -> np.float32:
    """Variance of the mean of samples of a held deviate of variance 1, a slot apart."""
    apart = np.arange(1, min(samples, math.ceil(1.0 / slot_in_holds)))
    together = np.sum((samples - apart) * np.maximum(0.0, 1.0 - apart * slot_in_holds))
    return np.float32(1.0 / samples + 2.0 * together / samples**2)


def _line_words(index: Index, components: npt.NDArray[np.int_]) -> Word:
    """Hash of component and number of its hold, per line: (components, lines)."""
    low = _mixed(_words(index * STRIDE) ^ _words(components * STRIDE)[:, None])
    return _mixed(low ^ _words(index >> 32))


def _words(numbers: Index) -> Word:
    """Low 32 bits."""
    return (numbers & LOW_WORD).astype(np.uint32)


def _mixed(words: Word) -> Word:
    """Hash 32 bits to 32 bits, one to one."""
    x = words ^ (words >> np.uint32(16))
    x *= MIX_FIRST
    x ^= x >> np.uint32(15)
    x *= MIX_SECOND
    return np.asarray(x ^ (x >> np.uint32(16)))


def _deviates(words: Word) -> Float32:
    """Standard normal deviate of each sum of two hashes; a word is hashed further in place.

    16 bits choose a slice of the distribution, whose mean is the deviate; the others place it
    within the outermost two, which reach from 4.1 to infinity.
    """
    words ^= words >> np.uint32(15)
    words *= MIX_SECOND
    slices = torch.from_numpy((words >> np.uint32(16)).view(np.int32)).view(-1)
    z: Float32 = torch.index_select(_table(), 0, slices).numpy()
    outermost = np.flatnonzero(words + OUTERMOST < 2 * OUTERMOST)
    if outermost.size:
        chosen = words.reshape(-1)[outermost]
        tail = ndtri(((chosen & np.uint32(0xFFFF)) + 0.5) / SLICES**2)
        z[outermost] = np.where(chosen < OUTERMOST, tail, -tail)
    return z.reshape(words.shape)


@cache
def _table() -> Tensor:
    return torch.from_numpy(slice_means(0.0))
