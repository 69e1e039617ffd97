"""The stand-in: a rule-based writer behind an OpenAI-compatible HTTP interface, for demos and tests.

It is no language model. It sees nothing but the HTTP request and imports nothing of the project outside this
folder, so everything that talks to it takes the path that it would take to a real server.
"""
