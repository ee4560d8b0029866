"""Make golden MFCC values with librosa, which the project itself does not need.

    pip install --target /tmp/librosa librosa
    PYTHONPATH=/tmp/librosa python tools/mfcc_golden.py tests/hil/golden/mfcc.npz

The recordings are synthetic and are kept beside the values (16 bit), so that a test needs neither
librosa nor the generator of the day.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE_HZ = 16_000
SEED = 7


def recordings() -> npt.NDArray[np.int16]:
    """A chirp, white noise, a voice-like sound, a click and a quiet hum: (5, 16000), int16."""
    rng = np.random.default_rng(SEED)
    t = np.arange(RATE_HZ) / RATE_HZ
    chirp = 0.5 * np.sin(2 * np.pi * (50 * t + 3975 * t**2 / 2))
    noise = 0.1 * rng.standard_normal(RATE_HZ)
    pitch = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 1.5 * t)) / RATE_HZ
    voice = sum(
        np.exp(-(((120 * k - formant) / 150) ** 2)) * np.sin(k * pitch)
        for k in range(1, 30)
        for formant in (600 + 200 * t, 1500 - 300 * t, 2600)
    )
    voice = 0.2 * voice * np.sin(np.pi * t) ** 2 + 1e-3 * rng.standard_normal(RATE_HZ)
    click = np.zeros(RATE_HZ)
    click[7000] = 0.9
    hum = 3e-4 * np.sin(2 * np.pi * 50 * t)
    waves = np.stack([chirp, noise, voice, click, hum])
    return np.clip(np.rint(32_768 * waves), -32_768, 32_767).astype(np.int16)


def coefficients(recording: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """Ten coefficients of each of 49 frames by librosa, (49, 10)."""
    import librosa  # noqa: PLC0415 - the tool is read without it

    window, fft = 640, 1024
    # librosa puts the window into the middle of the transform: pad so that frame 0 starts at 0.
    padded = np.pad(recording / 32_768, (fft - window) // 2)
    spectrum = librosa.stft(
        padded, n_fft=fft, hop_length=320, win_length=window, window="hann", center=False,
        dtype=np.complex128,
    )  # fmt: skip
    filters = librosa.filters.mel(
        sr=RATE_HZ, n_fft=fft, n_mels=40, fmin=20, fmax=4000, htk=True, norm=None, dtype=np.float64
    )
    log_mel = np.log(filters @ np.abs(spectrum) ** 2 + 1e-6)
    return librosa.feature.mfcc(S=log_mel, n_mfcc=10, dct_type=2, norm="ortho").T


def main(path: str) -> None:
    """Write recordings and coefficients to `path`."""
    clips = recordings()
    np.savez_compressed(
        Path(path),
        recordings=clips,
        coefficients=np.stack([coefficients(c) for c in clips]).astype(np.float32),
    )


if __name__ == "__main__":
    main(sys.argv[1])
