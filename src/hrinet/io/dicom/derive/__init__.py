"""Writing derived DICOM: a series that carries over its source and marks what was computed."""
