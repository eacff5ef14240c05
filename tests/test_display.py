"""What notebooks show: well formed, escaped, sortable, and to be read in light and in dark."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax import display
from msckpt_jax.display import html

HOSTILE = "</td><script>window.hacked = 1</script><img src=x onerror='hacked = 1'>\x1b\u202e"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def gauge(x: jax.Array, w: jax.Array) -> jax.Array:
    return jax.lax.while_loop(lambda c: c.sum() < 100, lambda c: c + (c @ w).sum(), x)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, mesh: jax.sharding.Mesh) -> dict[str, str]:
    """The HTML of an object of each kind; most have a hostile name in it."""
    folder = tmp_path_factory.mktemp("pages")
    spread = jax.NamedSharding(mesh, jax.P("x", "y"))
    tree = {"a": np.zeros((9, 1000)), "b": np.zeros(1), HOSTILE: np.zeros(1000), "c": np.zeros(70)}
    ms.save_checkpoint(tree, folder / "a.ckpt")
    params = ms.load_checkpoint(folder / "a.ckpt")
    params["mine"] = jax.device_put(jnp.zeros((16, 16)), spread)
    params["rows"] = jax.device_put(jnp.zeros((16, 16)), jax.NamedSharding(mesh, jax.P(("y", "x"))))
    params["other"] = params
    strategy = folder / "strategy.ckpt"
    ms.save_checkpoint(
        {HOSTILE: params["mine"], "b": params["rows"]},
        folder / "part.ckpt",
        integrated_save=False,
        strategy_file=strategy,
    )
    weights = {HOSTILE: jax.device_put(jnp.ones((16, 16)), spread)}
    exported = ms.export(
        (lambda w, x: gauge(x, w[HOSTILE]), weights), jnp.ones((16, 16)), file_name=folder / "net"
    )
    air = ms.export(
        (lambda w, x: x @ w[HOSTILE], weights),
        jnp.ones((4, 16)),
        file_name=folder / "net",
        file_format="AIR",
    )
    ambiguous = {"x": {"kernel": jnp.ones((3, 3)), HOSTILE: jnp.ones(3)}}
    shown = {
        "CheckpointFile": ms.open_checkpoint(folder / "a.ckpt"),
        "Parameters": params,
        "Exported": exported,
        "Graph": exported.graph,
        "MindIRFunction": ms.load(exported.file),
        "AirFunction": ms.load(air.file),
        "MergedCheckpoint": ms.load_checkpoint(folder, strategy=strategy).file,
        "TransformPlan": ms.plan_transform(folder, strategy),
        "explain": ms.explain(nnx.Linear(2, 3, rngs=nnx.Rngs(0))),
        "explain, in doubt": ms.explain(ambiguous),
    }
    return {kind: thing._repr_html_() for kind, thing in shown.items()}


VOID = ("br", "img", "rect")
_DATA = "data:image/svg+xml;base64,"


def pictures(page: str) -> list[str]:
    """The drawings of a page's images, all of which it has in itself."""
    sources = [a["src"] or "" for tag, a in Elements(page).seen if tag == "img"]
    assert all(source.startswith(_DATA) for source in sources)
    return [base64.b64decode(source.removeprefix(_DATA)).decode() for source in sources]


class Elements(HTMLParser):
    """The elements of a page, each closed by its own tag."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_pages_are_well_formed_and_whole(pages: dict[str, str]) -> None:
    for kind, page in pages.items():
        found = Elements(page)
        assert found.open == [], kind
        assert {tag for tag, _ in found.seen}.isdisjoint({"script", "link", "iframe"}), kind
        outside = [a for tag, attributes in found.seen for a in attributes
                   if a == "href" or (a == "src" and tag != "img")]  # fmt: skip
        for picture in pictures(page):
            assert {tag for tag, _ in Elements(picture).seen} <= {"svg", "style", "rect", "text"}
        assert (outside, re.findall(r"url\(|@import", page)) == ([], []), kind
        actions = [a["onclick"] for _, a in found.seen if "onclick" in a]
        assert all("hacked" not in (action or "") for action in actions), kind
        assert "\x1b" not in page, kind
        assert "\u202e" not in page, kind
    assert [kind for kind, page in pages.items() if "window.hacked" not in page] == ["explain"]


def test_long_tables_are_cut() -> None:
    page = display.table(["n"], ([n] for n in range(html.ROWS + 1234)))
    assert page.count("<tr>") == html.ROWS + 1
    assert "not shown: 1,234 more rows" in page


@pytest.mark.parametrize(
    ("cuts", "text"),
    [
        ((), "whole: 1 part"),
        ((1,), "whole: 1 part"),
        ((4,), "4: 4 parts"),
        ((1, 4), "1 x 4: 4 parts"),
        ((4, 1), "4 x 1: 4 parts"),
        ((2, 1, 4), "2 x 1 x 4: 8 parts"),
    ],
)
def test_pictures_of_shardings(cuts: tuple[int, ...], text: str) -> None:
    parts = {
        tuple((2 * i, 2 * i + 2) for i in index): [number, 100 + number]
        for number, index in enumerate(np.ndindex(cuts))
    }
    picture = display.sharding([2 * n for n in cuts], parts)
    assert f'alt="{text}"' in picture
    assert pictures(picture)[0].count("<rect") == len(parts)
    assert "] on 0,100" in picture


@pytest.mark.parametrize("cuts", [(2, 2, 2), (300,)])
def test_what_no_picture_shows_is_said(cuts: tuple[int, ...]) -> None:
    parts = {tuple((i, i + 1) for i in index): [0] for index in np.ndindex(cuts)}
    assert display.sharding(cuts, parts) == f"{' x '.join(map(str, cuts))} parts"


def test_an_array_without_elements_has_a_picture(mesh: jax.sharding.Mesh) -> None:
    empty = jax.device_put(jnp.zeros((0, 8)), jax.NamedSharding(mesh, jax.P(None, "y")))
    assert pictures(display.sharding_of(empty))[0].count("<rect") == 4
    assert display.sharding_of(np.zeros(3)) == display.sharding_of(jnp.zeros(3)) == ""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: apt-get install {BROWSERS[0]}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


#: Every text whose colour is too near to what is behind it, by WCAG's formula.
CONTRAST = """
() => {
  const contrast = CONTRAST;
  const found = [];
  for (const node of document.querySelectorAll('.msckpt *')) {
    const text = [...node.childNodes].some(c => c.nodeType == 3 && c.data.trim());
    if (!text || node.tagName == 'STYLE') continue;
    if (contrast(node) < 4.5) found.push([node.tagName, node.textContent, contrast(node)]);
  }
  return found;
}""".replace(
    "CONTRAST", Path(__file__).with_name("lab").joinpath("contrast.js").read_text().rstrip()
)

#: What JupyterLab sets in its dark theme.
JUPYTER = "--jp-ui-font-color1:rgba(255,255,255,.87);--jp-layout-color0:#111;"


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A page of the browser without a network; errors and requests are failures."""
    context = browser.new_context(viewport={"width": 900, "height": 700}, offline=True)
    context.set_default_timeout(5000)
    opened, wrong = context.new_page(), []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("request", lambda request: wrong.append(request.url))
    yield opened
    context.close()
    assert wrong == []


@pytest.mark.parametrize(
    ("scheme", "style"),
    [("light", ""), ("dark", ""), ("light", JUPYTER), ("dark", "--vscode-editor-background:#ddd;"
     "--vscode-editor-foreground:#111")],
)  # fmt: skip
def test_all_text_can_be_read(pages: dict[str, str], tab: Any, scheme: str, style: str) -> None:
    tab.emulate_media(color_scheme=scheme)
    tab.set_content(f"<body style='{style}'>{''.join(pages.values())}")
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert tab.locator("td").count() > 20
    assert tab.evaluate(CONTRAST) == []
    assert tab.evaluate("window.hacked") is None


def test_a_click_sorts(pages: dict[str, str], tab: Any) -> None:
    tab.set_content(pages["CheckpointFile"])

    def column(number: int) -> list[str]:
        return tab.locator(f"tbody td:nth-child({number})").all_inner_texts()

    sizes = ["8 B", "560 B", "7.8 KiB", "70.3 KiB"]
    tab.get_by_role("button", name="size").click()
    assert column(4) == sizes
    tab.get_by_role("button", name="size").click()
    assert column(4) == sizes[::-1]
    assert tab.locator("th[aria-sort]").all_inner_texts() == ["size"]
    tab.get_by_role("button", name="name").press("Enter")
    assert column(1)[1:] == ["a", "b", "c"]
    assert column(4)[1:] == ["70.3 KiB", "8 B", "560 B"]


class Stripped(HTMLParser):
    """A page without styles, as GitHub shows it, and JupyterLab where a notebook is not trusted.

    (JupyterLab 4.6 leaves the styles of single elements; tests/lab looks at what it makes of them.)
    """

    TAGS: ClassVar = {"br", "details", "div", "img", "p", "pre", "span", "summary", "table",
                      "tbody", "td", "th", "thead", "tr"}  # fmt: skip
    ATTRIBUTES: ClassVar = {"align", "alt", "class", "height", "open", "src", "title", "width"}

    def __init__(self, page: str):
        super().__init__()
        self.text, self.hidden = "", 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag == "style"
        kept = "".join(f' {k}="{escape(v or "")}"' for k, v in attrs if k in self.ATTRIBUTES)
        self.text += f"<{tag}{kept}>" if tag in self.TAGS else ""

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag == "style"
        self.text += f"</{tag}>" if tag in self.TAGS else ""

    def handle_data(self, data: str) -> None:
        self.text += "" if self.hidden else escape(data)


def test_untrusted_pages_keep_text_and_pictures(pages: dict[str, str], tab: Any) -> None:
    """In a fresh clone no notebook is trusted."""
    for kind, page in pages.items():
        tab.set_content(page)
        texts = tab.locator(".msckpt :is(td, pre, summary, p)").all_text_contents()
        tab.set_content(Stripped(page).text)
        assert tab.locator(".msckpt :is(td, pre, summary, p)").all_text_contents() == texts, kind
        assert tab.locator("button").count() == 0, kind
        loaded = "images => images.map(image => image.naturalWidth)"
        widths = tab.locator("img").evaluate_all(loaded)
        assert widths == [132] * len(pictures(page)), kind
    tab.set_content(Stripped(pages["Parameters"]).text)
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    colours = tab.locator("img").first.evaluate(COLOURS)
    assert len(colours) == 8  # a colour a part


#: The colours of an image's pixels, but for those of lines and letters.
COLOURS = """image => {
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const count = {};
  for (let i = 0; i < data.length; i += 4) {
    const key = data.slice(i, i + 4).join();
    count[key] = (count[key] ?? 0) + 1;
  }
  return Object.keys(count).filter(key => count[key] > 200);
}"""


def test_graphs_unfold(pages: dict[str, str], tab: Any) -> None:
    tab.set_content(pages["Exported"])
    body = tab.locator("details details details").first
    assert not body.locator("pre").first.is_visible()
    body.locator("summary").first.click()
    assert body.locator("pre").first.is_visible()
    tab.get_by_text("1 parameter, 1.0 KiB").click()
    assert tab.locator("img").is_visible()
    assert tab.locator("img").evaluate("image => image.naturalWidth") == 132
    tab.locator("summary").first.click()
    assert not body.is_visible()
