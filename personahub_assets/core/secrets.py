"""The secrets of this process's environment, which errors of libraries can quote."""

import os
import re

from personahub_assets.core.addresses import secrets_of, split_addresses, without

_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|PWD|CREDENTIAL|AUTH|SIGNATURE", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_LEAST = 6  # characters; a shorter value is more likely a word such as `none`


def hide_secrets(text: str, settings: str = "") -> str:
    """Replace the secrets of environment variables in a text.

    Secrets are passwords and signatures in addresses of any variable, and values of variables whose name says so or
    that the settings name, unless a value names an existing file.

    Args:
        text: such as an error of a library.
        settings: content of hub.toml, which names the variables of keys and headers.
    """
    return without(text, *_secrets(set(_WORD.findall(settings))))


def _secrets(names: set[str]) -> list[str]:
    secrets = list[str]()
    for name, value in os.environ.items():
        if "://" in value:
            secrets += [secret for address in split_addresses(value) for secret in _without_name(secrets_of(address))]
        elif (name in names or _NAME.search(name)) and not os.path.exists(value):  # noqa: PTH110 - any text, also one that is no path
            secrets.append(value)
    return [secret for secret in secrets if len(secret.strip()) >= _LEAST]


def _without_name(secrets: tuple[str, ...]) -> list[str]:
    """The secrets of an address without a user name beside a password: it can be an ordinary word."""
    return [secret for secret in secrets if not any(pair.startswith(f"{secret}:") for pair in secrets)]
