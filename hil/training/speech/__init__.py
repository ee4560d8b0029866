"""Speech for keyword spotting: recordings to features, changes of recordings. Knows no data set."""

from hil.training.speech.mfcc import MfccSettings, mfcc, speech_inputs

__all__ = ["MfccSettings", "mfcc", "speech_inputs"]
