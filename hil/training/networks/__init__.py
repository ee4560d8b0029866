"""Networks that can be trained and put onto a chip: torch modules, buildable by name."""

from hil.training.networks.registry import (
    NetworkSpec,
    build_network,
    initialise_,
    network_names,
    network_spec,
)

__all__ = ["NetworkSpec", "build_network", "initialise_", "network_names", "network_spec"]
