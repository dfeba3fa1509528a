"""Pictures and words about an input or a result."""
