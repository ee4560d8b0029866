"""The suite's tests of `hil.conformance.test_core_cells`, on the chips of this folder."""

from hil.conformance.test_core_cells import *  # noqa: F403
