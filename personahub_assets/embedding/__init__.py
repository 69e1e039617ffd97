"""Vectors of texts: models, endpoints, and what is kept of them."""
