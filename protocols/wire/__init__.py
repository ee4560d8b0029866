"""Board <-> host protocol: bytes <-> messages. No I/O, no clock, standard library only."""
