"""The suite's tests of `hil.conformance.test_core_codes`, on the chips of this folder."""

from hil.conformance.test_core_codes import *  # noqa: F403
