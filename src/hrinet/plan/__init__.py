"""Which slices the output has: positions only, no pixels."""
