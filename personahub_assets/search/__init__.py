"""Find personas by meaning."""
