"""Files in, files out; nothing here knows of methods."""
