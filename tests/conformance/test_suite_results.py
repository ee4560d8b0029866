"""The suite's tests of `hil.conformance.test_core_results`, on the chips of this folder."""

from hil.conformance.test_core_results import *  # noqa: F403
