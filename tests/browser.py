"""A headless Chromium that tests drive: pages are opened, looked at and clicked as by a user.

In: the file of a page.  Out: what JavaScript says of it, what it wrote to its console, what it asked of any network.
What always holds: it speaks the DevTools protocol over two pipes, so that no port is opened; it gets a profile of its
own and is ended with the `with` block.
"""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Iterator

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
         "--window-size=1400,1000")


def installed() -> str | None:
    """The path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab.  `messages`: errors and console texts; `asked`: addresses that it wanted to load."""

    def __init__(self, reading: int, writing: int):
        self.reading, self.writing = reading, writing
        self.count, self.rest = 0, b""
        self.session: str | None = None
        self.loaded = 0
        self.messages: list[str] = []
        self.asked: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    # ------------------------------------------------------------------ protocol
    def _read(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            more = os.read(self.reading, 1 << 20)
            if not more:
                raise EOFError("the browser ended")
            self.rest += more
        text, _, self.rest = self.rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, what: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self.loaded += 1
        elif method == "Network.requestWillBeSent":
            self.asked.append(what["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.messages.append(json.dumps(what)[:2000])

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol; RuntimeError if the browser refuses it."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self.count:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    # ------------------------------------------------------------------ what a user does
    def open(self, page: Path | str) -> int:
        """Load a page of `graphk report`; the milliseconds from navigation until it could be used, as it says."""
        before = self.loaded
        self.call("Page.navigate", url=Path(page).resolve().as_uri())
        while self.loaded == before:
            self._read()
        return int(self.wait("document.body.dataset.ready"))

    def js(self, text: str) -> Any:
        """The value of an expression, awaited."""
        done = self.call("Runtime.evaluate", expression=text, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{text}: {json.dumps(done['exceptionDetails'])[:1000]}")
        return done["result"].get("value")

    def wait(self, text: str, seconds: float = 60) -> Any:
        """The value of an expression (true for an element), once there is one; what it is at the end where not."""
        return self.js(f"new Promise(done => {{ const end = Date.now() + {1000 * seconds}; const look = () => {{"
                       f"const v = ({text}); if (v || Date.now() > end) done(v instanceof Node || v); "
                       "else setTimeout(look, 10); }; look(); })")

    def click(self, selector: str) -> None:
        """A click into the middle of the first element that the selector finds, which is brought into sight."""
        x, y = self.js("(e => { e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = "
                       "e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })"
                       f"(document.querySelector({json.dumps(selector)}))")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Text into a field, in place of what it holds."""
        self.js(f"(e => {{ e.scrollIntoView({{block: 'center'}}); e.value = ''; e.focus(); }})"
                f"(document.querySelector({json.dumps(selector)}))")
        self.call("Input.insertText", text=text)


@contextlib.contextmanager
def browser(profile: Path | str) -> Iterator[Browser]:
    """A browser with an empty folder as its profile."""
    program = installed()
    if program is None:
        raise FileNotFoundError(f"no browser: none of {', '.join(NAMES)} is installed")
    (their_in, writing), (reading, their_out) = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in (their_in, their_out)]        # 3 and 4 may be in use here

    def give() -> None:
        os.dup2(theirs[0], 3)
        os.dup2(theirs[1], 4)
    run = subprocess.Popen([program, *FLAGS, f"--user-data-dir={profile}"], preexec_fn=give, close_fds=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for fd in (their_in, their_out, *theirs):
        os.close(fd)
    try:
        yield Browser(reading, writing)
    finally:
        run.terminate()
        run.wait(timeout=30)
        for fd in (reading, writing):
            os.close(fd)
