"""Vectors of texts: models, endpoints, and the journal of vectors."""
