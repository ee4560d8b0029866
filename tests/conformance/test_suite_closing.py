"""The suite's tests of `hil.conformance.test_core_closing`, on the chips of this folder."""

from hil.conformance.test_core_closing import *  # noqa: F403
