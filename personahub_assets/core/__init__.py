"""What every room uses: settings, records, prompts, text and errors."""
