"""Back-ends that reach a board through bytes: transports, the board driver, the device emulator."""
