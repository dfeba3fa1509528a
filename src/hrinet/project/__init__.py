"""Projections of a volume along parallel rays: what the filled gaps are good for."""
