"""How near two images are; one measure a file, numpy in, floats out."""
