"""The built book, served and opened for tests in the browser."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Locator, Page, Request, Route
from steadiness import RECORD_SHIFTS

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"

# What axe finds in markup that is not ours and no setting can change: rule -> parts of the markup
# concerned. Anything else that axe finds fails the test.
NOT_OURS = {
    # The theme puts the title of the book into the sidebar outside any landmark.
    "region": ('class="navbar-brand logo"',),
    # pandas leaves the corner above the index of a frame, and of a styled one, empty.
    "empty-table-header": ("<th></th>", '<th class="blank'),
}


# What becomes different when a page goes from light to dark: the rules of axe about colors.
ABOUT_COLORS = ("color-contrast", "link-in-text-block")


# Names for programs, not for readers. Those of files, which have an ending or stand in a folder,
# are none of these.
KEY = re.compile(
    r"(?<![\w.])(?<![a-z]/)\w*[a-z]_[a-z]\w*(?!\w|\.(?:parquet|ipynb|py|md|json|yaml|yml)\b|/)"
)


def documents() -> list[str]:
    """Every document of the table of contents, as Sphinx names it."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())

    def files(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (str(node[key]) for key in ("root", "file") if key in node)
            for child in node.values():
                yield from files(child)
        elif isinstance(node, list):
            for child in node:
                yield from files(child)

    return list(files(toc))


DOCUMENTS = documents()
CHAPTERS = [name for name in DOCUMENTS if name.startswith("notebooks/")]


def shown_widgets(name: str) -> list[str]:
    """Classes of the widgets that a document shows, in their order, from its source."""
    path = ROOT / f"{name}.ipynb"
    if not path.exists():
        text = (ROOT / f"{name}.md").read_text()
        return re.findall(r"```\{widget\} \S+ (\w+)", text)
    notebook = json.loads(path.read_text())
    models = notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
    views = (
        output["data"][VIEW]["model_id"]
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if VIEW in output.get("data", {})
    )
    return [models[view]["state"]["_anywidget_id"].split(".")[-1] for view in views]


WIDGETS = {name: shown_widgets(name) for name in DOCUMENTS}
PAGES_WITH_WIDGETS = [name for name, shown in WIDGETS.items() if shown]


def keys(name: str) -> list[str]:
    """Names of the widgets of a document, as links have them."""
    shown = WIDGETS[name]
    copies = [shown[: k + 1].count(widget) for k, widget in enumerate(shown)]
    return [f"{w}-{n}" if n > 1 else w for w, n in zip(shown, copies, strict=True)]


def opened_at(page: Page, key: str) -> bool:
    """Return whether a page shows this widget at its top, and was scrolled for it."""
    top = page.locator(f'[data-widget="{key}"]').evaluate("e => e.getBoundingClientRect().top")
    return 0 <= top <= 200 and page.evaluate("scrollY") > 0


def for_each(names: list[str]) -> pytest.MarkDecorator:
    """Run a test for each of these documents, one document after the other in all of a module."""
    return pytest.mark.parametrize("name", names, scope="module")


def make_book(root: Path) -> None:
    """Bring the book under `root` up to date, with the tools of the Python that runs the tests."""
    tools = Path(sys.executable).parent
    built = subprocess.run(
        ["make", "book", f"BIN={tools}", "BOOK_TOOLS="],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr


def small_book(root: Path) -> None:
    """A book of the same configuration and chapters, with nothing in them but a title."""
    (root / "book").mkdir()
    for name in ("_ext", "_static", "references.bib"):
        (root / "book" / name).symlink_to(ROOT / "book" / name)
    for name in ("Makefile", "src"):
        (root / name).symlink_to(ROOT / name)
    (root / "book" / "index.md").write_text("# A book\n")
    part = {"numbered": 1, "chapters": [{"file": name} for name in CHAPTERS]}
    toc = {"format": "jb-book", "root": "book/index", "parts": [part]}
    (root / "book" / "_toc.yml").write_text(yaml.safe_dump(toc))
    (root / "notebooks" / "results").mkdir(parents=True)
    for name in CHAPTERS:
        notebook = nbformat.read(ROOT / f"{name}.ipynb", 4)
        notebook.cells = [nbformat.v4.new_markdown_cell("# A chapter")]
        notebook.metadata.pop("widgets", None)
        nbformat.write(notebook, root / f"{name}.ipynb")


@pytest.fixture(scope="module")
def site() -> Path:
    """The folder of the built book, built now if a source is newer."""
    SITE.parent.mkdir(exist_ok=True)
    with (SITE.parent / ".tests.lock").open("w") as lock:  # tests may run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_book(ROOT)
    return SITE


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line on stderr for each."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the book is served: ``http://127.0.0.1:port``."""
    handler = functools.partial(QuietHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@dataclass
class Visit:
    """A page open in the browser, and what went wrong and what moved while it loaded."""

    page: Page
    outside: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    shifts: list[dict] = field(default_factory=list)
    moved: list[tuple[str, float, float]] = field(default_factory=list)


Open = Callable[..., Visit]


COMES_LATE = (
    "**/widgets.js*",
    "**/pydata-sphinx-theme.js*",
    "**/_images/*",
)

# How far below the one before it each stands. Browsers count as a shift of the layout only what
# they show, the first screen of a page. Left aside is what comes with the theme's own scripts: that
# solutions are folded.
DISTANCES = """() => {
    const solutions = [...document.querySelectorAll("article .solution")];
    for (const solution of solutions) solution.style.display = "none";
    let before = 0;
    const marks = "article :is(h1, h2, h3, h4, .widget-place), footer";
    const distances = [...document.querySelectorAll(marks)].map((mark) => {
        const top = mark.getBoundingClientRect().top + scrollY;
        const distance = top - before;
        before = top;
        return [mark.id || mark.textContent.trim().slice(0, 60), distance];
    });
    for (const solution of solutions) solution.style.display = "";
    return distances;
}"""


def load_slowly(page: Page, url: str) -> list[tuple[str, float]]:
    """Load a page as on a slow line: what comes late comes when the text has been shown.

    Return the distances between headings and widgets as the text was shown.
    """
    page.add_init_script(RECORD_SHIFTS)
    late: list[Route] = []
    for what in COMES_LATE:
        page.route(what, lambda route: late.append(route))
    page.goto(url, wait_until="commit")
    # Not wait_for_function, which evaluates text in the page: its policy refuses that.
    while not page.evaluate("performance.getEntriesByName('first-contentful-paint').length"):
        page.wait_for_timeout(20)
    page.locator("footer").first.wait_for(state="attached")
    distances: list[tuple[str, float]] = page.evaluate(DISTANCES)
    for route in late:
        route.continue_()
    page.unroute_all()
    page.wait_for_load_state("load")
    return distances


@contextlib.contextmanager
def opener(browser: Browser, address: str, site: Path) -> Iterator[Open]:
    """Open pages of the book, each once it is set, and note what goes wrong; close them all."""
    contexts = []

    def open_page(
        path: str,
        *,
        width: int = 1280,
        scheme: str = "light",
        from_file: bool = False,
        leads_to: str = "",
        slowly: bool = False,
    ) -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        home = site.as_uri() if from_file else address
        visit = Visit(context.new_page())

        def note_others(request: Request) -> None:
            if not request.url.startswith((home, "data:", "blob:")):
                visit.outside.append(request.url)

        context.on("request", note_others)
        page = visit.page
        page.on("websocket", lambda socket: visit.outside.append(socket.url))
        page.on("requestfailed", lambda request: visit.failed.append(request.url))
        page.on(
            "response",
            lambda response: visit.failed.append(response.url) if response.status >= 400 else None,
        )
        page.on("pageerror", lambda error: visit.errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                visit.errors.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        # A page that only leads to another is gone before anything can be asked of it.
        if slowly:
            distances = load_slowly(page, f"{home}/{path}")
        else:
            page.goto(f"{home}/{path}", wait_until="commit" if leads_to else "load")
        if leads_to:
            page.wait_for_url(f"{home}/{leads_to}", wait_until="load")
        page.locator("html[data-widgets=ready]").wait_for(state="attached")
        if slowly:
            page.locator("html[data-settled]").wait_for(state="attached")
            visit.shifts += page.evaluate("new Promise(requestAnimationFrame).then(() => shifts)")
            set_now = page.evaluate(DISTANCES)
            visit.moved += [
                (mark, was, now) for (mark, was), (_, now) in zip(distances, set_now, strict=True)
            ]
        return visit

    try:
        yield open_page
    finally:
        for context in contexts:
            context.close()


@pytest.fixture
def visit(browser: Browser, address: str, site: Path) -> Iterator[Open]:
    """Open a page of the book for one test, with every other host blocked, and wait for it."""
    with opener(browser, address, site) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def look(name: str, browser: Browser, address: str, site: Path) -> Iterator[Open]:
    """The document `name` as `visit` opens it, for tests that leave the page as it was.

    It is seen on a wide screen, served, or on a phone, from a file that was copied to it, and comes
    slowly. Loading a page takes longer than looking at it, so the tests of a document that are
    marked with `for_each` share it.
    """
    with opener(browser, address, site) as open_page:

        @functools.cache
        def load(on_phone: bool) -> Visit:
            where = {"width": 390, "from_file": True} if on_phone else {}
            seen = open_page(f"{name}.html", slowly=True, **where)
            # What went wrong in loading it; what tests do to the page later is not added.
            lists = seen.outside, seen.failed, seen.errors, seen.shifts, seen.moved
            return Visit(seen.page, *map(list.copy, lists))

        def look_at(*, scheme: str = "light", on_phone: bool = False) -> Visit:
            seen = load(on_phone)
            # As a reader's system goes from light to dark in the evening: the page follows.
            seen.page.emulate_media(color_scheme=scheme)
            seen.page.locator(f"html[data-theme={scheme}]").wait_for(state="attached")
            return seen

        yield look_at


def skip_guesses(page: Page) -> None:
    """Show what waits for a guess, instruments too."""
    skip = page.get_by_role("button", name="skip all guesses").first
    if skip.is_visible():
        skip.click()


def live_widgets(page: Page) -> list[Locator]:
    return page.locator(".live-widget").all()


@functools.lru_cache(maxsize=2)
def parsed(site: Path, name: str) -> BeautifulSoup:
    """A page as it was built; not to be changed."""
    return BeautifulSoup((site / f"{name}.html").read_text(), "html.parser")


def launch_links(page: BeautifulSoup) -> list[str]:
    links = (str(tag["href"]) for tag in page.select("a[href]"))
    return [link for link in links if "colab.research.google" in link or "mybinder.org" in link]


@contextlib.contextmanager
def without_repetition(page: Page) -> Iterator[None]:
    """Take out what axe would look at thousands of times: most of the elements of a page.

    The shapes that formulas are drawn with, and the parts that they are read by; in a block of code
    the colors of a kind of word (keyword, number, ...) after its first; in tables and in the text,
    words that are set as others before them.
    """
    # Who cannot see formulas is read the formula itself, whose text stays, as do words in the
    # drawing. Text beside a link stays: from that the link has to stand out.
    originals = page.evaluate_handle(
        """() => {
            const all = (selector) => [...document.querySelectorAll(selector)];
            const drawn = all("mjx-container > svg")
                .filter((svg) => !svg.querySelector("text, title, a"));
            const read = all("mjx-assistive-mml math");
            const code = all("article pre");
            const around = (element) => {
                if (element.matches("article")) return "";
                const { backgroundColor, opacity, position } = getComputedStyle(element);
                const own = [backgroundColor, opacity, position].join();
                return `${own} in ${around(element.parentElement)}`;
            };
            const seen = new Set();
            const words = all("article :is(td, p, li, dd, figcaption, span, code, em, strong)")
                .filter((element) => {
                    if (element.closest("a, button, label, th, pre, mjx-container, .live-widget")
                        || element.querySelector("a, mjx-container > svg")) return false;
                    const { color, font } = getComputedStyle(element);
                    const look = `${element.tagName}, ${color}, ${font}, ${around(element)}`;
                    const before = seen.size;
                    seen.add(look);
                    return seen.size === before;
                });
            const parts = [...drawn, ...read, ...code, ...words];
            const originals = parts.map((part) => [part, [...part.childNodes]]);
            drawn.forEach((part) => part.replaceChildren());
            words.forEach((part) => part.replaceChildren(...part.children));
            read.forEach((part) => part.replaceChildren(part.textContent));
            for (const block of code) {
                const thinned = block.cloneNode(true);
                const kinds = new Set();
                for (const word of thinned.querySelectorAll("span[class]")) {
                    if (kinds.has(word.className)) word.replaceWith(...word.childNodes);
                    kinds.add(word.className);
                }
                block.replaceChildren(...thinned.childNodes);
            }
            return originals;
        }"""
    )
    yield
    originals.evaluate("all => all.forEach(([part, inside]) => part.replaceChildren(...inside))")


def violations(page: Page, rules: Sequence[str] = ()) -> str:
    """What axe finds on a page that is of our making, as text; by these rules alone if any."""
    # To list what is in order, too, would take as long as to look for what is not.
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = [*rules]
    with without_repetition(page):
        response = Axe().run(page, options=options).response
    found = [
        f"{violation['id']}: {node['html']}\n{node['failureSummary']}"
        for violation in response["violations"]
        for node in violation["nodes"]
        if not any(part in node["html"] for part in NOT_OURS.get(violation["id"], ()))
    ]
    return "\n\n".join(found)
