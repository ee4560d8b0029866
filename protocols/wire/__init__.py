"""protocols.wire."""
