"""Values as SQL literals."""


def quoted(text: str) -> str:
    """Write a text as an SQL literal.

    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"
