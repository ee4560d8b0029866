"""The suite's tests of `hil.conformance.test_core_time`, on the chips of this folder."""

from hil.conformance.test_core_time import *  # noqa: F403
