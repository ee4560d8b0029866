"""The suite's tests of `hil.conformance.test_core_statistics`, on the chips of this folder."""

from hil.conformance.test_core_statistics import *  # noqa: F403
