"""The answer in a server's reply: read, unwrapped, judged."""
