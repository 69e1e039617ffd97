"""Languages that can be told apart: settings name them, pages are labelled with them."""

from resiliparse.parse.lang import supported_langs

LANGUAGES = frozenset(supported_langs())
