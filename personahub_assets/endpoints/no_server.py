"""The transport of requests that are written to files: there is no server to connect to."""

from typing import Any, NoReturn

from personahub_assets.core.config import FILES_URL
from personahub_assets.core.errors import LLMError
from personahub_assets.endpoints.transport import Transport


class NoServer(Transport):
    """A transport that sends nothing; it reads answers that come in files."""

    def __init__(self) -> None:
        super().__init__("http://files.invalid/v1", "", timeout_s=1, tries=1, faults_in_a_row=1)
        self.url, self.counts = FILES_URL, False

    async def control_tokens(self) -> frozenset[str]:
        """None are known."""
        return frozenset()

    async def exchange(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Refuse to send.

        Raises:
            LLMError: always.
        """
        raise LLMError(f"requests go to files ({FILES_URL}), so nothing can be asked online")

    post = send_once = exchange
