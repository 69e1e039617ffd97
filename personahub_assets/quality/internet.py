"""Find e-mail addresses, web addresses and IP addresses."""

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from personahub_assets.quality.spans import LETTER, NOT_IN_WORD, Span

_LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}\Z")
_DOMAIN = re.compile(
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}([^\W\d_]{2,24}|xn--[a-z0-9-]{2,59})(?![\w@-])", re.IGNORECASE
)
_AT = re.compile(r" ?[\[({] ?at ?[\])}] ?", re.IGNORECASE)
# Without brackets both words and a common ending are needed: "lucy at mail dot com".
_SAID = re.compile(
    r"(?<![\w.+-])[\w.+-]{2,64} at ((?:[\w-]{2,63} dot ){1,3})(?:com|org|net|edu|gov|io|info|co|uk|de|fr|es|it|eu)\b",
    re.IGNORECASE,
)
_SPELLED_NAME = re.compile(r"[\w.+-]{1,64}\Z")
_SPELLED_HOST = re.compile(
    r"[\w-]{1,63}(?: ?(?:\.|[\[({] ?(?:dot|punkt|punto) ?[\])}]) ?[\w-]{2,63}){1,4}", re.IGNORECASE
)
# A name in Latin letters right behind a Chinese, Japanese or Korean word.
_JOINED = re.compile(r".*[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3](?=[!-~]+\Z)")
_EXTENSIONS = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "ico",
        "js",
        "ts",
        "jsx",
        "tsx",
        "css",
        "html",
        "py",
        "rb",
        "md",
        "json",
        "yaml",
        "yml",
        "txt",
        "pdf",
        "zip",
        "gz",
    ]
)
_SCHEME = re.compile(
    r"(?<![\w])(?:https?|ftp|sftp|wss?)://[^\s<>\"“”«»\\^`{}|。，、；：！？）】」』]+|(?<![\w@.])www\.[\w-]+(?:\.[\w-]+)+[^\s<>\"“”]*",
    re.IGNORECASE,
)
# A bare name of a host counts in lower case with a common ending: booking.com, but not ASP.NET, Node.js or e.g.
_ENDING = re.compile(
    r"\.(com|org|net|edu|gov|info|io|dev|app|co|uk|de|fr|es|it|nl|ch|at|eu|jp|cn|in|br|ru|pl|se|au|ca|us|"
    r"ly|me|gl|be|tv|ai|gg|to|cc|xyz|site|online|shop|club|blog|tech|cloud|page|link|news)"
    r"(?:(?::\d{2,5})?/[^\s<>\"“”]*|(?![\w@-]|\.\w|\())"
)
_HOST = re.compile(rf"{NOT_IN_WORD}(?<![@./:-])[a-z0-9][a-z0-9.-]{{0,99}}\Z")
_PATHLESS = frozenset("com org net edu gov info uk de fr eu".split())
_CLOSING = {")": "(", "]": "[", "}": "{"}

_V4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_V6_SIGN = re.compile(r":[0-9a-fA-F]{0,4}:")
_V6 = re.compile(
    r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}(?:[0-9a-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3}|:)?(?![\w:]|\.\d)", re.IGNORECASE
)
_INSIDE_BEFORE, _INSIDE_BEHIND = re.compile(rf"(?:{LETTER}|\.)\Z"), re.compile(rf"{LETTER}|\.\w")
_NUMBERED = re.compile(
    r"(?:\b(?:v|ver|version|release|build|firmware|section|sections|chapter|clause|paragraph|article|figure|fig|table|"
    r"part|rule|item|step|requirement|edition|update|driver|oid|ec|kernel|patch|to|and|or|from|than)|§)[\s.:#]{0,3}\Z",
    re.IGNORECASE,
)
_VERSIONED = re.compile(r"\b(?:version|release|upgrade|firmware|section|clause|chapter|build)", re.IGNORECASE)
_JOINING = ("to", "and", "or", "from", "than")
_NEAR = 40


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses, also written as `name [at] host [dot] org`."""
    position = text.find("@")
    while position >= 0:
        if span := _email_at(text, position):
            yield span
        position = text.find("@", position + 1)
    if " dot " in text or " DOT " in text or " Dot " in text:
        for match in _SAID.finditer(text):
            yield Span("email", *match.span())
    if "[" in text or "(" in text or "{" in text:
        for match in _AT.finditer(text):
            name = _SPELLED_NAME.search(text, max(0, match.start() - 64), match.start())
            host = _SPELLED_HOST.match(text, match.end())
            if name and host:
                yield Span("email", name.start(), host.end())


def _email_at(text: str, at: int) -> Span | None:
    local = _LOCAL.search(text[max(0, at - 64) : at])
    domain = _DOMAIN.match(text, at + 1)
    if local is None or domain is None or domain[1].lower() in _EXTENSIONS:
        return None
    name = local[0]
    start = at - len(name)
    if (joined := _JOINED.match(name)) is not None:
        start += joined.end()
    if (cut := max(name.rfind(sign) for sign in "/=?&`|{(")) >= 0:
        start = max(start, at - len(name) + cut + 1)
    while start < at and text[start] in ".!#$%&*^~-'":
        start += 1
    # git@github.com:owner/name is the address of a repository.
    is_remote = text[domain.end() : domain.end() + 1] == ":" and text[domain.end() + 1 : domain.end() + 2].isalnum()
    return None if start == at or is_remote else Span("email", start, domain.end())


def urls(text: str) -> Iterator[Span]:
    """Web addresses: with a scheme, with `www.`, or a host in lower case with a common ending."""
    if "://" in text or "www." in text or "WWW." in text:
        for match in _SCHEME.finditer(text):
            yield Span("url", match.start(), _trimmed(text, match.start(), match.end()))
    for match in _ENDING.finditer(text):
        host = _HOST.search(text, max(0, match.start() - 100), match.start())
        if host and ("/" in match[0] or match[1] in _PATHLESS):
            yield Span("url", host.start(), _trimmed(text, host.start(), match.end()))


def _trimmed(text: str, start: int, end: int) -> int:
    """The end of an address without the punctuation of its sentence."""
    while end > start:
        last = text[end - 1]
        opening = _CLOSING.get(last)
        is_balanced = opening is not None and text.count(opening, start, end) >= text.count(last, start, end)
        if last not in ".,;:!?'’”*_)]}" or is_balanced:
            break
        end -= 1
    return end


def ips(text: str) -> Iterator[Span]:
    """IP addresses of both versions; numbers of versions and sections are left alone."""
    if text.count(".") >= 3:
        for match in _V4.finditer(text):
            start, end = match.span()
            is_inside = _INSIDE_BEFORE.search(text, max(0, start - 1), start) or _INSIDE_BEHIND.match(text, end)
            if not is_inside and _is_v4(match[0]) and not _is_version(text, start):
                yield Span("ip", start, end)
    if _V6_SIGN.search(text):
        for match in _V6.finditer(text):
            if _is_v6(match[0]):
                yield Span("ip", *match.span())


def _is_version(text: str, start: int) -> bool:
    before = text[max(0, start - _NEAR) : start]
    match = _NUMBERED.search(before)
    if match is None:
        return False
    # "from version 1.2.3.4 to 1.2.3.5", but not "from 10.0.0.1 to 10.0.0.9"
    return match[0].strip(" .:#").lower() not in _JOINING or _VERSIONED.search(before) is not None


def _is_v4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _is_v6(text: str) -> bool:
    """Whether a text is an IPv6 address and not a slice, a time or a name with colons."""
    groups = [group for group in text.split(":") if group]
    if len(groups) < 2 or not any(len(group) >= 3 for group in groups) or not any(map(str.isdigit, text)):
        return False
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True
