"""What the tests of the endpoints room share."""

from scripted import brisk, script

__all__ = ["brisk", "script"]
