"""How well every method does on a scan of one's own, by hiding some of its slices."""
