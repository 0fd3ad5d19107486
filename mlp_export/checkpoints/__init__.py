"""A name becomes a checkpoint: resolve, read, demos."""
