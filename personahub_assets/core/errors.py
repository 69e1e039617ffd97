"""Every error a user can meet.

The tree of classes:

    PersonaHubError
    ├── ConfigError          hub.toml, an environment variable or a flag is wrong
    ├── SourceError          a source file cannot be read at all (bad rows are quarantined instead)
    ├── PromptError          a prompt file cannot be used
    ├── BatchError           a batch key is malformed, unknown or taken
    ├── StoreError           a table file is missing or damaged
    │   └── AccessError      the way to a file failed, so nothing is said about what is in it
    ├── UnknownId            nothing in the home has an id
    ├── QueryError           SQL that could do more than read, is wrong, or asks for too much
    ├── LockHeld             another process works on the same thing
    ├── LLMError             no usable language model endpoint
    │   └── EndpointDown     too many consecutive transport faults; the journal is intact
    ├── Unfinished           a step stopped before its end on purpose; what was answered is in the journal
    │   └── BudgetSpent      calls, tokens, money or time of the run are spent
    └── BatchesFailed        some batches of a run failed; the others are published
"""


class PersonaHubError(Exception):
    """A problem whose message says what was got, what is valid and what to do."""


class ConfigError(PersonaHubError):
    """A setting is unknown, malformed or out of bounds."""


class SourceError(PersonaHubError):
    """A source file is missing, unreadable or of an unknown format."""


class PromptError(PersonaHubError):
    """A prompt file is malformed, or its template names a value that nobody gives."""


class BatchError(PersonaHubError):
    """A batch key is malformed, unknown, or belongs to another source file."""


class StoreError(PersonaHubError):
    """A table file is missing, damaged or has the wrong columns."""


class AccessError(StoreError):
    """A file could not be opened, read or written; what is in it may be whole."""


class UnknownId(PersonaHubError):
    """No document, persona, item, call or quarantined row of the home has this id."""


class QueryError(PersonaHubError):
    """SQL that could do more than read, that DuckDB refuses, or that asks for more time or memory than it may."""


class LockHeld(PersonaHubError):
    """Another process holds the lock of a batch, an asset or the warehouse."""


class LLMError(PersonaHubError):
    """There is no usable language model endpoint."""


class EndpointDown(LLMError):
    """The endpoint failed too often in a row; what was answered is safe in the journal."""


class Unfinished(PersonaHubError):
    """A step stopped on purpose with requests left; what was answered is in the journal, nothing is published."""


class BudgetSpent(Unfinished):
    """A bound of the run is reached; `partial` is what a request had cost until then, if it had begun."""

    partial: object = None


class BatchesFailed(PersonaHubError):
    """Some batches of a run failed; those that succeeded are published."""


def choices(got: str, valid: list[str]) -> str:
    """Say what was got and what is valid, nearest name first.

    >>> choices("persona", ["personas", "tools"])
    "'persona' (did you mean 'personas'? valid: personas, tools)"
    """
    import difflib

    near = difflib.get_close_matches(got, valid, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{got!r} ({hint}valid: {', '.join(valid)})"
