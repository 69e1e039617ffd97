"""All errors raised for users.

The tree of classes:

    PersonaHubError
    ├── ConfigError          hub.toml, an environment variable or a flag is wrong
    │   └── ArgumentError    an argument is wrong by itself, whatever the home holds
    ├── SourceError          a source file cannot be read at all (bad rows are quarantined instead)
    ├── PromptError          a prompt file cannot be used
    ├── BatchError           a batch key is malformed, unknown or taken
    ├── StoreError           a table file is missing or damaged
    │   └── AccessError      access to a file failed; its content is unknown
    ├── UnknownId            no row of the home has an id
    ├── QueryError           SQL that could do more than read, is wrong, or exceeds a limit
    ├── LockHeld             another process works on the same thing
    ├── LLMError             no usable language model endpoint
    │   ├── EndpointDown     too many consecutive transport faults; the journal is intact
    │   ├── EndpointRefuses  credit, key, path or model; nothing is wrong with the rows
    │   │   └── KeyRefused   the key
    │   ├── LimitReached     a rate limit that lasts longer than generation.longest_wait
    │   └── SystematicFault  the first answers of an asset were all rejected for one reason
    ├── Unfinished           a step stopped before its end on purpose; answers are in the journal
    │   ├── Submitted        requests wait for the answers of a batch API
    │   └── BudgetSpent      the budget of calls, tokens, cost or time of the run is spent
    └── BatchesFailed        some batches of a run failed; the others are published
"""


class PersonaHubError(Exception):
    """Base class; messages name the received value, the valid ones and the remedy."""


class ConfigError(PersonaHubError):
    """A setting is unknown, malformed or out of bounds."""


class ArgumentError(ConfigError):
    """An argument is malformed, out of bounds, missing or excluded by another one, whatever the home holds."""


class SourceError(PersonaHubError):
    """A source file is missing, unreadable or of an unknown format."""


class PromptError(PersonaHubError):
    """A prompt file is malformed, or its template uses an undefined value."""


class BatchError(PersonaHubError):
    """A batch key is malformed, unknown, or belongs to another source file."""


class StoreError(PersonaHubError):
    """A table file is missing, damaged or has the wrong columns."""


class AccessError(StoreError):
    """A file could not be opened, read or written; its content can be intact."""


class UnknownId(PersonaHubError):
    """No document, persona, item, call or quarantined row of the home has this id."""


class QueryError(PersonaHubError):
    """SQL that could do more than read, that DuckDB refuses, or that exceeds a limit of time or memory."""


class LockHeld(PersonaHubError):
    """Another process holds the lock of a batch, an asset or the warehouse."""


class LLMError(PersonaHubError):
    """There is no usable language model endpoint."""


class EndpointDown(LLMError):
    """The endpoint failed too often in a row; answers are in the journal."""


class EndpointRefuses(LLMError):
    """The server refuses everything: the account has no credit, or the key, the path or the model is wrong."""


class KeyRefused(EndpointRefuses):
    """The server refuses the key, or wants one."""


class LimitReached(LLMError):
    """A rate limit lasts longer than `generation.longest_wait`; received answers are in the journal."""


class SystematicFault(LLMError):
    """The first answers of an asset were all rejected for one reason; more calls would cost money without result."""


class Unfinished(PersonaHubError):
    """A step stopped on purpose with requests left; answers are in the journal, nothing is published."""


class Submitted(Unfinished):
    """Requests of `asset` were submitted to a batch API, and some have no answer yet; a later run collects them."""

    asset: str = ""


class BudgetSpent(Unfinished):
    """A bound of the run is reached; `partial` is the cost of a started request."""

    partial: object = None


class BatchesFailed(PersonaHubError):
    """Some batches of a run failed; the others are published."""


def choices(got: str, valid: list[str]) -> str:
    """Describe the received and the valid names, the nearest first.

    >>> choices("persona", ["personas", "tools"])
    "'persona' (did you mean 'personas'? valid: personas, tools)"
    """
    import difflib

    near = difflib.get_close_matches(got, valid, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{got!r} ({hint}valid: {', '.join(valid)})"


def missing_file(name: object) -> str:
    """Describe a file that a user named and that does not exist.

    >>> missing_file("pages.jsonl")
    'pages.jsonl: there is no such file'
    """
    return f"{name}: there is no such file"
