"""Quality gates: pure rules over texts, without I/O."""
