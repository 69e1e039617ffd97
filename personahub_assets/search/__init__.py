"""Finding personas by meaning."""
