"""What a server takes, refuses and complains of: dialects, verdicts, waits."""
