"""What the tests of the generation room share."""

from scripted import brisk, script

__all__ = ["brisk", "script"]
