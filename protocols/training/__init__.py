"""Training plans: declarative experiments that `hil run` executes on any chip. No code here."""
