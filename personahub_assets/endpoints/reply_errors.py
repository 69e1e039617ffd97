"""Replies of status 200 without an answer."""

from personahub_assets.core.text import plain, sanitise

_EXCERPT_CHARS = 160


class UnreadableReply(ValueError):
    """A reply with neither an answer nor an error object.

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
        code: the server's number, an HTTP status or its own code; None if there is none.
        message: the server's sentence, printable.
        body: the reply.
        is_empty: whether the reply has no choices and no error either.
    """

    def __init__(self, code: int | None, message: str, body: bytes, *, is_empty: bool = False):
        super().__init__(message)
        self.code, self.message, self.body, self.is_empty = code, message, body, is_empty
