"""Describe what object storage refuses: the reason that the server gives, and the remedy for it."""

import os
import re
from datetime import UTC, datetime

_CODE, _MESSAGE = re.compile(r"<Code>(\w{1,80})</Code>"), re.compile(r"<Message>([^<]{1,300})</Message>")
_STATUS = re.compile(r"status code: (\d{3})")
_METADATA = "169.254.169.254"
"""The address at which a machine of a cloud gets credentials; asked when no variable has some."""
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_REGION = "Set AWS_REGION to the region of the bucket; it is {region} now"
_WRONG_KEY = f"Correct {_KEYS}, and AWS_SESSION_TOKEN for temporary keys"
_OLD_KEY = f"Get new temporary keys: {_KEYS} with AWS_SESSION_TOKEN"
_BUCKET = "Create that bucket, or correct PERSONAHUB_HOME, AWS_REGION or AWS_ENDPOINT_URL"
_REMEDIES = {
    "AccessDenied": "Allow the owner of AWS_ACCESS_KEY_ID to list the bucket, and to get, put and delete its objects",
    "AuthorizationHeaderMalformed": _REGION,
    "ExpiredToken": _OLD_KEY,
    "IllegalLocationConstraintException": _REGION,
    "InvalidAccessKeyId": _WRONG_KEY,
    "InvalidClientTokenId": _WRONG_KEY,
    "InvalidToken": _WRONG_KEY,
    "NoSuchBucket": _BUCKET,
    "PermanentRedirect": _REGION,
    "RequestTimeTooSkewed": "Set the clock of this machine; it says {now}",
    "SignatureDoesNotMatch": _WRONG_KEY,
    "SlowDown": "Use fewer machines at a time, or wait some minutes",
    "TokenRefreshRequired": _OLD_KEY,
}


def names_reason(error: BaseException) -> bool:
    """Whether an error says more than the status of the answer."""
    return _STATUS.search(str(error)) is None or _CODE.search(str(error)) is not None


def describe(error: BaseException, otherwise: str) -> str:
    """The reason and the remedy for a request that failed; only what the server says of the reason is quoted.

    Args:
        error: of the library.
        otherwise: the remedy if the reason is none of those of this module.
    """
    text = str(error)
    code, status = _CODE.search(text), _STATUS.search(text)
    if _METADATA in text:
        return f"no credentials. Set {_KEYS}, or give this machine a role of its cloud"
    if "redirect without LOCATION" in text:
        return f"the bucket is in another region. {_remedy('PermanentRedirect', otherwise)}"
    if code is None:
        return f"{_first_line(error).removesuffix('.')}. {otherwise}"
    message = _MESSAGE.search(text)
    reason = f"{code[1]}: {message[1].strip().removesuffix('.')}" if message else code[1]
    return f"the server answers {status[1] if status else 'with'} {reason}. {_remedy(code[1], otherwise)}"


def _remedy(code: str, otherwise: str) -> str:
    if code not in _REMEDIES:
        return otherwise
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    now = datetime.now(UTC).isoformat(" ", "seconds")
    return _REMEDIES[code].format(region=repr(region) if region else "not set", now=now) + "; then run again"


def _first_line(error: BaseException) -> str:
    """What a library says, without the dump of its structures that follows and an answer in XML."""
    line = next(iter(str(error).splitlines()), "").strip()
    return line.removesuffix('<?xml version="1.0" encoding="utf-8"?>').rstrip(": ") or type(error).__name__
