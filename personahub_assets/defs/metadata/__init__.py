"""What assets report to the UI: samples, charts, dropped rows, usage."""
