"""Languages that can be detected, for settings and labels of pages."""

from resiliparse.parse.lang import supported_langs

LANGUAGES = frozenset(supported_langs())
