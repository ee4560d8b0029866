"""What every core owes, as tests: one suite for simulators, boards, recordings and strangers."""
