"""The phantom and the demonstration on it."""
