"""Checking a derived DICOM series against the scan that it was derived from."""
