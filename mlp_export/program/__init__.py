"""What the `.pte` files of all backends share."""
