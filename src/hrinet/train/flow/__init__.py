"""Training of ``hrinet-flow``: crops of real scans, thinned and varied at random."""
