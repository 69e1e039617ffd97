"""Differences between servers: dialects of requests, complaints in refusals, lists of models, and schemas."""
