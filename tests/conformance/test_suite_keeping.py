"""The suite's tests of `hil.conformance.test_core_keeping`, on the chips of this folder."""

from hil.conformance.test_core_keeping import *  # noqa: F403
