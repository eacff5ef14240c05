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
_PATIENCE = 30.0


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
    (work / "data").mkdir(exist_ok=True)
    notary = NotebookNotary(data_dir=str(work / "data"))
    notary.sign(nbformat.read(notebook, as_version=4))
    notary.store.close()


class Lab:
    """A page of the browser with JupyterLab in it."""

    def __init__(self, browser: Any, url: str, scale: float = 1):
        self.page = browser.new_page(viewport=_WINDOW, device_scale_factor=scale)
        self.page.set_default_timeout(_PATIENCE * 1000)
        self.outside: list[str] = []
        self.page.on("request", lambda request: self._note(request.url, url))
        self.page.goto(f"{url}lab")
        self.page.wait_for_function("window.jupyterapp")
        self.page.evaluate(_ALONE)

    def _note(self, asked: str, url: str) -> None:
        own = (url, url.replace("http", "ws", 1), "data:", "blob:")
        if not asked.startswith(own):
            self.outside.append(asked)

    def open(self, path: str, outputs: int) -> bool:
        """Open a notebook alone; wait for its outputs; tell whether JupyterLab trusts it."""
        trusted = self.page.evaluate(_OPEN, path)
        drawn = "count => document.querySelectorAll('.jp-OutputArea-output').length >= count"
        self.page.wait_for_function(drawn, arg=outputs)
        self.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        return trusted

    def look(self, theme: str, width: int) -> None:
        """Change the theme, and the window: so wide, and as high as it takes for all to be seen."""
        self.page.evaluate(_THEME, THEMES[theme])
        self.page.set_viewport_size({**_WINDOW, "width": width})
        self.page.evaluate(_SETTLED)
        high = self.page.evaluate("document.querySelector('.jp-WindowedPanel-inner').scrollHeight")
        self.page.set_viewport_size({"width": width, "height": high + 400})
        self.page.evaluate(_SETTLED)


_WINDOW = {"width": 1200, "height": 900}

#: One document fills the window, without the list of files.
_ALONE = """async () => {
  const {commands, restored, shell} = jupyterapp;
  await restored;
  await commands.execute('application:set-mode', {mode: 'single-document'});
  if (!shell.leftCollapsed) await commands.execute('application:toggle-left-area');
}"""

_OPEN = """async path => {
  const {commands, shell} = jupyterapp;
  for (const widget of [...shell.widgets('main')]) widget.dispose();
  const kernelPreference = {shouldStart: false, canStart: false};
  const widget = await commands.execute(
    'docmanager:open', {path, factory: 'Notebook', kernelPreference});
  await widget.context.ready;
  await widget.revealed;
  const codes = widget.content.widgets.filter(cell => cell.model.type == 'code');
  return codes.every(cell => cell.model.trusted);
}"""

_THEME = """async theme => {
  await jupyterapp.commands.execute('apputils:change-theme', {theme});
  while (document.body.dataset.jpThemeName != theme) await new Promise(requestAnimationFrame);
}"""

#: Resolves when images are loaded and two frames are drawn.
_SETTLED = """async () => {
  await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
  for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
}"""
