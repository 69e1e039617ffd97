"""Source files: formats, archives, registration and redaction."""
