"""The suite's tests of `hil.conformance.test_core_refusals`, on the chips of this folder."""

from hil.conformance.test_core_refusals import *  # noqa: F403
