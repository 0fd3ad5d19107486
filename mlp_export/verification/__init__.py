"""A bundle against the model it came from: a file a check."""
