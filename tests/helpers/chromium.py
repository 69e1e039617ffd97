"""A tab of headless Chromium, driven over the DevTools protocol: real clicks and keys in the pages of a server."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_SECONDS = 60
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = ("--headless", "--no-first-run", "--disable-gpu", "--remote-debugging-port=0", "--window-size=1440,900")

_LISTEN = (
    "unclicked = true, {element}.addEventListener("
    "'click', () => {{ unclicked = false }}, {{capture: true, once: true}})"
)


def chromium() -> str | None:
    """Where Chromium or Chrome is, if it is installed."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Tab:
    """One tab.

    Attributes:
        requests: addresses that its pages have requested so far.
        dialogs: texts of the dialogs that scripts have opened.
    """

    def __init__(self, socket: ClientConnection):
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self._socket, self._number = socket, 0
        for domain in ("Page", "Network", "Runtime"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **values: Any) -> dict[str, Any]:
        """Send a command and give its result; events that come before it are kept."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": values}))
        while True:
            message = json.loads(self._socket.recv(_SECONDS))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            elif message["method"] == "Page.javascriptDialogOpening":
                self.dialogs.append(message["params"]["message"])

    def open(self, address: str) -> None:
        """Open an address and wait until it is loaded."""
        self.send("Page.navigate", url=address)
        self.wait("document.readyState == 'complete'")

    def value(self, script: str) -> Any:
        """The value of an expression; None if it fails."""
        return self.send("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + _SECONDS
        while not self.value(f"!!({script})"):
            assert time.monotonic() < end, f"{script} does not hold in: {self.value('document.body.innerText')}"
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Click into the middle of the first element that a selector has."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.click_at(
            f"(box => [box.x + box.width / 2, box.y + box.height / 2])"
            f"(({element}.scrollIntoView({{block: 'center'}}), {element}).getClientRects()[0])",
            element,
        )

    def click_at(self, point: str, element: str) -> None:
        """Click at a point of the window until an element gets the click.

        Chromium drops clicks into a page that it has not painted yet, and a page that still moves gets them
        elsewhere: on a busy machine both happen.

        Args:
            point: expression of its x and y, computed anew for each try.
            element: expression of the element that has to get the click.
        """
        end = time.monotonic() + _SECONDS
        while True:
            self.wait(element)
            x, y = self.value(f"{_LISTEN.format(element=element)}, {point}")
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
            for kind in ("mousePressed", "mouseReleased"):
                self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
            # A page that the click has opened does not know of it.
            if self.value("window.unclicked") is not True:
                return
            assert time.monotonic() < end, f"{element} gets no click at {x}, {y}"
            time.sleep(0.1)

    def type(self, text: str) -> None:
        """Type a text where the cursor is."""
        self.send("Input.insertText", text=text)


@contextmanager
def tab(folder: Path, address: str) -> Iterator[Tab]:
    """A tab of a new Chromium with an address.

    Args:
        folder: for its profile.
    """
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [chromium() or "", *_OPTIONS, *sandbox, f"--user-data-dir={folder}", address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            with connect(_debugger(folder), max_size=None) as socket:
                yield Tab(socket)
        finally:
            browser.terminate()


def _debugger(folder: Path) -> str:
    """The address to drive its first tab at."""
    file, end = folder / "DevToolsActivePort", time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if file.exists() and (port := file.read_text().partition("\n")[0]):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                for target in json.load(answer):
                    if target["type"] == "page":
                        return str(target["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise TimeoutError("Chromium does not start")
