"""Replies of status 200 that hold no answer."""

from personahub_assets.core.text import plain, sanitise

_EXCERPT_CHARS = 160


class UnreadableReply(ValueError):
    """A reply that holds neither an answer nor an error object.

    Attributes:
        excerpt: its kind and first words, printable.
        body: its text, storable.
    """

    def __init__(self, kind: str, body: str, words: str | None = None):
        start = plain(body if words is None else words, _EXCERPT_CHARS)
        self.excerpt = f"{kind}: {start}" if start else kind
        self.body = sanitise(body)[0]
        super().__init__(f"the reply is {self.excerpt}")


class ErrorReply(ValueError):
    """A reply with an error object, or without choices, though its status says success.

    Attributes:
        code: the number the server gives, an HTTP status or its own; None if it gives none.
        message: its own sentence, printable.
        body: the reply.
        is_empty: whether there is no error in it either, only no choices.
    """

    def __init__(self, code: int | None, message: str, body: bytes, *, is_empty: bool = False):
        super().__init__(message)
        self.code, self.message, self.body, self.is_empty = code, message, body, is_empty
