"""How good the methods are on given scans: protocols, scores, statistics, reports."""
