"""The simulated chip: PCM physics, converters and circuit behind the same Core as silicon."""
