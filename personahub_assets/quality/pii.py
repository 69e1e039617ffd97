"""Find and mask personal data in a text: addresses, telephone numbers, accounts and numbers of persons."""

import re
from bisect import bisect
from collections.abc import Callable, Collection, Iterator
from itertools import chain, combinations

from personahub_assets.quality.identifiers import identifiers
from personahub_assets.quality.internet import emails, ips, urls
from personahub_assets.quality.phones import phones
from personahub_assets.quality.spans import KINDS, Kind, Span

_RANK = {kind: rank for rank, kind in enumerate(KINDS)}
_FINDERS: tuple[tuple[frozenset[Kind], Callable[[str], Iterator[Span]]], ...] = (
    (frozenset({"email"}), emails),
    (frozenset({"url"}), urls),
    (frozenset({"iban", "card", "tax_id", "id_number"}), identifiers),
    (frozenset({"phone"}), phones),
    (frozenset({"ip"}), ips),
)
_SIGN = re.compile(r"[\d@]|\.\w|://|[\[({] ?[aA][tT] ?[\])}]| (?:dot|Dot|DOT) ")


def find_pii(text: str, kinds: Collection[Kind] = KINDS) -> list[Span]:
    """Find personal data, in the order of the text, without overlaps.

    All kinds are searched, so that the choice of kinds does not change what a span is.

    >>> [(span.kind, "Mail ann@example.org or call +44 20 7946 0958."[span.start:span.end])
    ...  for span in find_pii("Mail ann@example.org or call +44 20 7946 0958.")]
    [('email', 'ann@example.org'), ('phone', '+44 20 7946 0958')]
    """
    if not kinds or not _can_have_any(text):
        return []
    spans = [span for _, finder in _FINDERS for span in finder(text)]
    if not spans:
        return []
    return [span for span in _without_overlaps(spans) if span.kind in kinds]


def _without_overlaps(spans: list[Span]) -> list[Span]:
    """Of overlapping spans the one of the first kind, then the first and longest one; in the order of the text."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (_RANK[span.kind], span.start, -span.end)):
        at = bisect(kept, span.start, key=lambda span: span.start)
        is_free = (at == 0 or kept[at - 1].end <= span.start) and (at == len(kept) or span.end <= kept[at].start)
        if is_free:
            kept.insert(at, span)
    return kept


def _can_have_any(text: str) -> bool:
    """Whether a text has a digit or a sign without which there is no personal data."""
    return _SIGN.search(text) is not None


def mask_pii(text: str, kinds: Collection[Kind]) -> str:
    """Replace personal data of some kinds by placeholders.

    >>> mask_pii("Mail ann@example.org.", {"email"})
    'Mail [EMAIL].'
    """
    while spans := find_pii(text, kinds):  # a masked span can uncover another one beside it
        for span in reversed(spans):
            text = text[: span.start] + placeholder(span.kind) + text[span.end :]
    return text


def masked_forms(text: str) -> set[str]:
    """The text, and the forms that it has when some kinds of personal data are masked.

    A tombstone is of the form that was stored, and the source file has the text itself.
    """
    present = sorted({span.kind for span in find_pii(text)})
    chosen = chain.from_iterable(combinations(present, count) for count in range(1, len(present) + 1))
    return {text, *(mask_pii(text, kinds) for kinds in chosen)}


def placeholder(kind: Kind) -> str:
    """The placeholder of a kind, such as [EMAIL]."""
    return f"[{kind.upper()}]"
