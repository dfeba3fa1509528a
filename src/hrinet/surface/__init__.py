"""Surfaces of structures, in patient coordinates."""
