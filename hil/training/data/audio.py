"""Sound files to recordings of one second, 16 kHz, 16 bit. Knows no data set and no features.

WAV and FLAC are decoded by libsndfile. A person's recording and the clips of a data set take the
same way, so that a network hears both alike.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError
from hil.training.speech.mfcc import FULL_SCALE, SAMPLE_RATE_HZ, SAMPLES

__all__ = ["decode", "one_second", "read_joined", "read_wav"]

MAX_SECONDS = 600
"""Longest recording of a person that is read."""
MAX_BYTES = 512 * 2**20
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 4_000, 384_000

Recording = npt.NDArray[np.int16]
Waveform = npt.NDArray[np.float64]


def read_wav(path: Path) -> Recording:
    """Read a person's own recording (WAV, FLAC): its loudest second, (16000,) int16.

    Channels are averaged, other rates resampled, shorter recordings put into the middle of zeros.

    Raises:
        RequestError: No such file, no sound file, empty, longer than ten minutes, or of a rate
            outside 4...384 kHz.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise RequestError(
                f"{path} has {size} bytes, over {MAX_BYTES}; cut the word out of it first",
                path=str(path),
            )
        content = path.read_bytes()
    except OSError as error:
        raise RequestError(
            f"recording {path} cannot be read ({error.strerror or error}); give a WAV or FLAC file",
            path=str(path),
        ) from error
    return one_second(*decode(content, str(path)))


def decode(content: bytes, name: str) -> tuple[Waveform, int]:
    """Decode a WAV or FLAC file to a mono waveform, amplitude 1 at full scale, and its rate in Hz.

    Raises:
        RequestError: As `read_wav`; `name` is what the file is called in the sentence.
    """
    import soundfile  # noqa: PLC0415 - only where recordings are read

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            rate, frames = int(file.samplerate), int(file.frames)
            if not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ:
                raise RequestError(
                    f"{name} has {rate} samples a second, outside {LOWEST_RATE_HZ}..."
                    f"{HIGHEST_RATE_HZ}; record at {SAMPLE_RATE_HZ}",
                    path=name,
                )
            if not 1 <= frames <= MAX_SECONDS * rate:
                raise RequestError(
                    f"{name} lasts {frames / rate:g} s, not above 0 and up to {MAX_SECONDS} s",
                    path=name,
                )
            waveform = file.read(dtype="float64", always_2d=True).mean(axis=1)
    except soundfile.SoundFileError as error:
        raise RequestError(
            f"{name} cannot be read as a WAV or FLAC file ({error}); get or record it again",
            path=name,
        ) from error
    if len(waveform) != frames or not np.isfinite(waveform).all():
        raise RequestError(
            f"{name} announces {frames} samples and holds {len(waveform)}, or some that are no "
            f"numbers; get or record it again",
            path=name,
        )
    return waveform, rate


def one_second(waveform: Waveform, rate_hz: int) -> Recording:
    """Bring a mono waveform to 16 kHz and to its loudest second, (16000,) int16.

    Resampled by a polyphase filter; a shorter one stands in the middle of zeros.
    """
    if rate_hz != SAMPLE_RATE_HZ:
        from scipy.signal import resample_poly  # noqa: PLC0415 - a third of a second of import

        common = math.gcd(rate_hz, SAMPLE_RATE_HZ)
        waveform = resample_poly(waveform, SAMPLE_RATE_HZ // common, rate_hz // common)
    if len(waveform) > SAMPLES:
        energy = np.concatenate([[0.0], np.cumsum(np.square(waveform))])
        start = int(np.argmax(energy[SAMPLES:] - energy[:-SAMPLES]))
        waveform = waveform[start : start + SAMPLES]
    before = (SAMPLES - len(waveform)) // 2
    second = np.zeros(SAMPLES)
    second[before : before + len(waveform)] = waveform
    return np.clip(np.rint(second * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def read_joined(path: Path, *, rate_hz: int, samples: int, wanted: int | None = None) -> Recording:
    """Read a mono 16-bit file that many recordings were joined in, (wanted or samples,) int16.

    Args:
        path: The file.
        rate_hz, samples: Rate and length that it must have.
        wanted: Samples to decode, from the first; None: all.

    Raises:
        RequestError: Another format, rate, length; damaged or truncated.
    """
    import soundfile  # noqa: PLC0415 - only where recordings are read

    count = samples if wanted is None else min(wanted, samples)
    try:
        with soundfile.SoundFile(path) as file:
            found = (file.samplerate, file.channels, file.subtype, file.frames)
            if found != (rate_hz, 1, "PCM_16", samples):
                raise RequestError(
                    f"{path} has rate, channels, format, samples {found}, not "
                    f"{(rate_hz, 1, 'PCM_16', samples)} as its index says; get both again",
                    path=str(path),
                )
            recording: Recording = file.read(count, dtype="int16")
    except soundfile.SoundFileError as error:
        raise RequestError(
            f"{path} cannot be read as a FLAC file ({error}); get it again", path=str(path)
        ) from error
    if len(recording) != count:
        raise RequestError(
            f"{path} ends after {len(recording)} of {count} samples; get it again", path=str(path)
        )
    return recording
