"""Changes of recordings: each does what its name says, by the numbers drawn and no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hil.training.augmentation import augmented_batch
from hil.training.data import Split
from hil.training.speech import speech_inputs
from hil.training.speech.augment import SpeechChange, change_features, change_recordings
from hil.training.streams import stream

NOTHING = SpeechChange(shift_s=0, speed=0, gain_db=0, noise_share=0, time_masks=0, mel_masks=0)


def tone(hz: float = 440.0, level: float = 0.3, count: int = 1) -> torch.Tensor:
    t = torch.arange(16_000) / 16_000
    wave = level * 32_768 * torch.sin(2 * torch.pi * hz * t)
    return wave.round().to(torch.int16).expand(count, -1).clone()


def changed(clips: torch.Tensor, seed: int = 0, **settings: object) -> torch.Tensor:
    chosen = NOTHING.model_copy(update=settings)
    return change_recordings(clips, chosen, stream(seed, "test"))


def rms(clips: torch.Tensor) -> torch.Tensor:
    return clips.double().square().mean(dim=1).sqrt()


def test_no_change_returns_equal_recordings():
    clips = torch.cat([tone(), tone(900.0), torch.full((1, 16_000), -32_768).to(torch.int16)])
    assert torch.equal(changed(clips), clips)


def test_same_seed_same_change_and_the_input_stays():
    clips = tone(count=4)
    before = clips.clone()
    one, same, other = (
        change_recordings(clips, SpeechChange(), stream(s, "test")) for s in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(clips, before)


def test_shift_moves_by_up_to_its_limit_and_lets_zeros_in():
    clips = torch.zeros(200, 16_000, dtype=torch.int16)
    clips[:, 8000] = 20_000
    moved = changed(clips, shift_s=0.1)
    place = (moved.double() * torch.arange(16_000)).sum(dim=1) / moved.double().sum(dim=1)
    offset = place - 8000
    assert float(offset.abs().max()) <= 1600
    assert float(offset.min()) < -1300
    assert float(offset.max()) > 1300


def test_speed_scales_the_frequency():
    spectrum = torch.fft.rfft(changed(tone(1000.0, count=50), speed=0.1).double()).abs()
    hz = spectrum.argmax(dim=1).double()
    assert 895 <= float(hz.min()) < 930
    assert 1070 < float(hz.max()) <= 1105


def test_gain_stays_within_its_limit_in_both_directions():
    ratio = 20 * torch.log10(rms(changed(tone(count=200), gain_db=6.0)) / rms(tone()))
    assert float(ratio.abs().max()) <= 6.01
    assert float(ratio.min()) < -5
    assert float(ratio.max()) > 5


@given(below_db=st.sampled_from([0.0, 10.0, 20.0]), seed=st.integers(0, 20))
def test_noise_has_the_level_asked_for(below_db, seed):
    clips = tone(count=2)
    added = changed(clips, seed, noise_share=1.0, noise_db=(below_db, below_db)) - clips
    found = 20 * torch.log10(rms(clips) / rms(added))
    assert torch.allclose(found, torch.tensor(below_db).double(), atol=0.1)


def test_noise_goes_to_its_share_of_the_recordings():
    clips = tone(count=400)
    share = (changed(clips, noise_share=0.3) != clips).any(dim=1).double().mean()
    assert abs(float(share) - 0.3) < 4 * (0.3 * 0.7 / 400) ** 0.5


def test_background_recordings_are_half_of_the_noise():
    clips, background = tone(count=400), tone(3000.0, count=1)
    settings = NOTHING.model_copy(update={"noise_share": 1.0, "noise_db": (10.0, 10.0)})
    mixed = change_recordings(clips, settings, stream(0, "test"), background=background)
    at_3k = torch.fft.rfft((mixed - clips).double()).abs()[:, 3000]
    real = at_3k > 0.9 * at_3k.max()
    assert abs(float(real.double().mean()) - 0.5) < 4 * (0.25 / 400) ** 0.5


def test_silence_stays_silent_and_loud_recordings_clip():
    silence = torch.zeros(3, 16_000, dtype=torch.int16)
    settings = SpeechChange(noise_share=1.0)
    assert not change_recordings(silence, settings, stream(0, "t"), background=silence).any()
    loud = changed(tone(level=0.99, count=20), gain_db=20.0)
    assert int(loud.max()) == 32_767
    assert int(loud.min()) == -32_768


def test_masks_hide_stretches_of_at_most_their_length():
    settings = NOTHING.model_copy(update={"time_masks": 1, "mel_masks": 1})
    masked = change_features(torch.ones(300, 1, 49, 10), settings, stream(0, "test"))[:, 0]
    frames = (masked == 0).all(dim=2)
    coefficients = (masked == 0).all(dim=1)
    for hidden, longest in ((frames, 8), (coefficients, 2)):
        lengths = hidden.sum(dim=1)
        edges = (hidden[:, 1:] != hidden[:, :-1]).sum(dim=1)
        assert set(lengths.tolist()) == set(range(longest + 1))
        assert int(edges.max()) <= 2  # one stretch
    visible = ~(frames[:, :, None] | coefficients[:, None, :])
    assert torch.equal(masked, visible.float())
    assert float(frames.double().mean(dim=0).min()) > 0  # every frame is hidden now and then


def test_channel_is_one_offset_a_coefficient_for_the_whole_recording():
    settings = NOTHING.model_copy(update={"channel": 0.3})
    offset = change_features(torch.zeros(500, 1, 49, 10), settings, stream(0, "test"))[:, 0]
    assert torch.equal(offset, offset[:, :1].expand(-1, 49, -1))
    n = 500 * 10
    assert abs(float(offset[:, 0].var()) / 0.3**2 - 1) < 5 * (2 / n) ** 0.5
    assert abs(float(offset[:, 0].mean())) < 5 * 0.3 / n**0.5


def test_batch_is_changed_as_recordings_and_masked_as_features():
    rng = np.random.default_rng(0)
    clips = torch.from_numpy(rng.integers(-9000, 9000, (6, 16_000)).astype(np.int16))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    split = Split(samples=clips, labels=labels, prepare=speech_inputs)
    chosen = torch.tensor([5, 1, 2])
    assert torch.equal(
        augmented_batch(split, chosen, NOTHING, stream(0, "test")), split.batch(chosen)
    )
    settings = SpeechChange(noise_class=0)
    generator = stream(3, "test")
    recordings = change_recordings(
        clips[chosen], settings, generator, background=clips[labels == 0]
    )
    wanted = change_features(speech_inputs(recordings), settings, generator)
    assert torch.equal(augmented_batch(split, chosen, settings, stream(3, "test")), wanted)


def test_a_noise_class_without_recordings_leaves_noise_made_here():
    split = Split(samples=tone(count=2), labels=torch.tensor([1, 2]), prepare=speech_inputs)
    settings = NOTHING.model_copy(update={"noise_class": 0, "noise_share": 1.0})
    batch = augmented_batch(split, torch.tensor([0, 1]), settings, stream(0, "test"))
    assert bool(batch.isfinite().all())
    assert not torch.equal(batch, split.images)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"shift_s": 1.5}, "shift_s"),
        ({"noise_share": -0.1}, "noise_share"),
        ({"noise_db": (40.0, 5.0)}, "noise_db"),
        ({"pitch": 1}, "pitch"),
    ],
)
def test_settings_out_of_range_are_refused(change, place):
    with pytest.raises(ValidationError, match=place):
        SpeechChange.model_validate(change)
