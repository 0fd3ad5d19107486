"""The delegates mlp-export can lower to, a folder each, behind the protocol in `base`."""
