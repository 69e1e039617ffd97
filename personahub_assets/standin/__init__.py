"""The stand-in: a rule-based writer behind an OpenAI-compatible HTTP interface, for demos and tests.

It is not a language model. Its only input is the HTTP request, and it imports nothing from outside this folder. So its
clients use the same code path as with a real server.
"""
