"""What Netron shows of a model file: its own reader in Node, its own drawing in a headless Chromium.

In: a Python that has the package `netron`, and a file.  Out: a text of layers, arguments, connections and weights; the
drawing and its picture.  What always holds: Netron's page is not opened, since it begins with a question for consent
to reports of usage; `tools_netron.js` imports its modules, and the browser is asked what it loaded: nothing but files
of that package and the model, from this process.
"""
from __future__ import annotations

import base64
import contextlib
import functools
import json
import shutil
import subprocess
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Iterator

from tests import browser

SCRIPT = Path(__file__).with_suffix(".js")
PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<link rel="stylesheet" href="/grapher.css">
<style>html, body, #target { margin: 0; height: 100% }</style><div id="target"></div><script type="module">
import {open, draw} from '/own.js';
import {BinaryStream} from '/base.js';
const load = name => import('/' + name), asset = async name => (await fetch('/' + name)).text();
window.shown = async name => {
  const start = performance.now();
  const stream = new BinaryStream(new Uint8Array(await (await fetch('/model')).arrayBuffer()));
  const [model, host] = await open(load, asset, name, stream);
  const [layers, edges] = await draw(load, model, host);
  const svg = document.getElementById('canvas').outerHTML;
  return {seconds: (performance.now() - start) / 1e3, layers, edges, svg};
};
</script>"""


def missing(python: str | None) -> str:
    """Why it cannot be asked; "" where it can."""
    if not python:
        return "no --netron PYTHON"
    if not shutil.which("node"):
        return "no node"
    found = subprocess.run([python, "-c", "import netron"], capture_output=True, text=True)
    return "" if found.returncode == 0 else f"{python} has no netron: pip install netron"


def folder_of(python: str) -> Path:
    """Where the package lies."""
    text = "import netron; print(netron.__path__[0])"
    return Path(subprocess.run([python, "-c", text], capture_output=True, text=True, check=True).stdout.strip())


def command(python: str, file: Path) -> list[str]:
    """What prints the text."""
    return ["node", str(SCRIPT), str(folder_of(python)), str(file)]


class _Files(SimpleHTTPRequestHandler):
    """Of the package, and beside them /own.js, /page and /model."""

    def __init__(self, *args: object, model: Path, **given: object):
        self.model = model
        super().__init__(*args, **given)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        own = {"/own.js": SCRIPT, "/model": self.model}.get(self.path)
        if own is None and self.path != "/page":
            return super().do_GET()
        data = own.read_bytes() if own else PAGE.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if own is SCRIPT else "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def _served(python: str, file: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, model=file, directory=folder_of(python)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def drawn(python: str, file: Path, out: Path) -> str:
    """The drawing as out.svg and out.png; what was drawn, and how long reading and drawing took.  RuntimeError where
    the browser loaded anything else."""
    if browser.installed() is None:
        return "not drawn: no Chromium"
    with tempfile.TemporaryDirectory() as profile, _served(python, file) as address, browser.browser(profile) as tab:
        tab.call("Page.navigate", url=f"{address}/page")
        tab.wait("window.shown !== undefined")
        what = tab.js(f"shown({json.dumps(file.name)})")
        out.with_suffix(".png").write_bytes(base64.b64decode(tab.call("Page.captureScreenshot")["data"]))
        if others := [u for u in tab.asked if not u.startswith((address + "/", "data:"))]:
            raise RuntimeError(f"Netron's modules loaded {others}")
    svg = what.pop("svg")
    out.with_suffix(".svg").write_text(svg)
    return f"{what['layers']} layers and {what['edges']} edges drawn, {what['seconds']:.1f} s, {len(svg) / 1e3:.0f} kB"
