"""JupyterLab over a folder of notebooks, in a browser: what a person sees there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat.sign import NotebookNotary

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
#: All cells are drawn at once, wherever the page is scrolled to; nothing is asked of the network.
SETTINGS = {
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "notebook-extension/tracker": {"windowingMode": "none"},
}
OPTIONS = (
    "--no-browser",
    "--allow-root",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port=0",
    "--IdentityProvider.token=",
    "--LabApp.expose_app_in_browser=True",
    "--LabApp.extension_manager=readonly",
)
_PATIENCE = 60.0


def missing() -> str:
    """What has to be installed before notebooks can be opened; empty where all is there."""
    import importlib.util

    if not any(map(shutil.which, BROWSERS)):
        return f"no browser: apt-get install {BROWSERS[0]}"
    if importlib.util.find_spec("jupyterlab") is None:
        return "no JupyterLab: pip install jupyterlab"
    return ""


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Start a Chromium."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield started
        started.close()


@contextlib.contextmanager
def server(notebooks: Path, work: Path) -> Iterator[str]:
    """Serve a folder of notebooks by JupyterLab, whose own files are in ``work``; yield its URL."""
    for name, content in SETTINGS.items():
        path = work / "settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    places = {"JUPYTER_DATA_DIR": "data", "JUPYTER_CONFIG_DIR": "config", "IPYTHONDIR": "ipython",
              "JUPYTER_RUNTIME_DIR": "runtime", "JUPYTERLAB_SETTINGS_DIR": "settings",
              "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}  # fmt: skip
    own = {variable: str(work / folder) for variable, folder in places.items()}
    command = [sys.executable, "-m", "jupyterlab", *OPTIONS, f"--ServerApp.root_dir={notebooks}"]
    log = work / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env={**os.environ, **own}, stdout=file, stderr=file)
    try:
        yield _address(work / "runtime", process, log)
    finally:
        process.terminate()
        process.wait(30)


def _address(runtime: Path, process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server has told where it is."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        for told in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(json.JSONDecodeError):  # it is being written
                return json.loads(told.read_text())["url"]
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}")


def trust(notebook: Path, work: Path) -> None:
    """Sign a notebook, as ``jupyter trust`` does."""
    notary = NotebookNotary(data_dir=str(work / "data"))
    notary.sign(nbformat.read(notebook, as_version=4))
    notary.store.close()


class Lab:
    """A page of the browser with JupyterLab in it."""

    def __init__(self, browser: Any, url: str, scale: float = 1):
        self.page = browser.new_page(
            viewport={"width": 1200, "height": 900}, device_scale_factor=scale
        )
        self.page.set_default_timeout(_PATIENCE * 1000)
        self._url = url
        self.outside: list[str] = []
        self.page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith((self._url, self._url.replace("http", "ws", 1), "data:", "blob:")):
            self.outside.append(url)

    def open(self, name: str) -> None:
        """Open a notebook alone, and wait until all of its outputs are drawn."""
        self.page.goto(f"{self._url}doc/tree/{name}")
        self.page.locator(".jp-NotebookPanel .jp-Cell").last.wait_for()
        self.page.evaluate(_SETTLED)

    def look(self, theme: str, width: int) -> None:
        """Change the theme, and the width of the window."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.evaluate(
            "name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})",
            THEMES[theme],
        )
        self.page.locator(f"body[data-jp-theme-light={'true' if theme == 'light' else 'false'}]")
        self.page.evaluate(_SETTLED)


#: Resolves when images are loaded and two frames are drawn.
_SETTLED = """async () => {
  await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
  for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
}"""
