"""Extract the answer from a server's reply: read it, unwrap it, and reject text without content."""
