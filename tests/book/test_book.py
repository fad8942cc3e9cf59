"""The built book as a whole: its first page, its colors, its search, its links.

The pages are served from a local folder with every other host blocked. The tests need Chromium:
without one they are skipped, or fail if ``INITSCOPE_BROWSER=required``.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlencode, urlsplit
from xml.etree import ElementTree

import nbformat
import pytest
from book_pages import (
    CHAPTERS,
    DOCUMENTS,
    KEY,
    ROOT,
    Open,
    Visit,
    make_book,
    parsed,
    small_book,
)
from bs4 import BeautifulSoup, NavigableString

from initscope.claims import Cases, Effect, Finding, read_claims
from initscope.files import file_digest


@pytest.mark.browser
def test_the_folder_opens_on_the_first_page(visit: Open) -> None:
    opened = visit("index.html", from_file=True, leads_to=f"{DOCUMENTS[0]}.html")
    assert opened.outside == []


@pytest.mark.browser
def test_the_reader_can_switch_between_light_and_dark(visit: Open) -> None:
    # What is asked of the search means nothing on another page.
    opened = visit(f"{DOCUMENTS[0]}.html?q=constructor", scheme="light")
    page = opened.page

    def background() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    seen = {background()}
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        seen.add(background())
    assert len(seen) == 2
    assert opened.errors == []


@pytest.mark.browser
def test_search_finds_a_word_without_a_server(visit: Open) -> None:
    opened = visit("search.html?q=initialization", from_file=True)
    page = opened.page
    page.locator("#search-results li a").first.wait_for()
    assert opened.errors == []


def search(opened: Visit, address: str, query: str) -> str:
    """Search for `query`, and return the sentence that says how many pages were found."""
    opened.page.goto(f"{address}/search.html?{urlencode({'q': query})}")
    said = opened.page.locator("#search-results .search-summary")
    said.filter(has_text=re.compile("did not match|found")).wait_for()
    return said.inner_text()


@pytest.mark.browser
def test_no_query_breaks_the_search(visit: Open, address: str) -> None:
    opened = visit("search.html")
    inherited = ["constructor", "__proto__", "toString", "hasOwnProperty", "valueOf"]
    hostile = [
        *inherited,
        *(f"std {word}" for word in inherited),
        *("%", "   ", "-", "(((", "\\", ".*+?^${}()|[]\\", "\0", "😀", "%E0%A4%A", "x" * 5000),
        '"<img onerror>"',
        "<img src=x onerror=document.title='hit'>",
        "'</script><script>document.title='hit'</script>",
    ]
    for query in hostile:
        found = search(opened, address, query)
        assert found.startswith("Your search did not match any documents."), query
        assert opened.page.locator("#search-results li").count() == 0
        assert opened.errors == [], query
    assert "hit" not in opened.page.title()
    for query in ("initialization", "std " * 2000):
        assert re.search(r"found \d+ page", search(opened, address, query)), query
        assert opened.page.locator("#search-results li").count() > 0
    opened.page.wait_for_load_state("networkidle")
    assert opened.errors == []


@pytest.mark.browser
def test_a_summary_of_what_was_found_is_of_the_text(visit: Open, address: str) -> None:
    opened = visit("search.html")
    search(opened, address, "criticality")
    chapter = opened.page.locator("#search-results li", has_text="Criticality").first
    summary = chapter.locator(".context").inner_text()
    assert summary.strip(".").startswith("2. Criticality")  # and not with the names of buttons
    assert "noscript" not in summary


def policy_of(page: BeautifulSoup) -> dict[str, list[str]]:
    """What the Content-Security-Policy of a page allows, by directive."""
    element = page.select_one('head meta[http-equiv="Content-Security-Policy"]')
    assert element is not None
    before = {tag.name for tag in element.find_previous_siblings()}
    assert before == {"meta"}, "what stands before the policy is not held to it"
    parts = (directive.split() for directive in str(element["content"]).split(";"))
    return {name: allowed for name, *allowed in parts}


Pages = dict[Path, BeautifulSoup]


@pytest.fixture(scope="module")
def pages(site: Path) -> Pages:
    """Every page as it was built; not to be changed."""
    return {
        path: BeautifulSoup(path.read_text(), "html.parser")
        for path in site.rglob("*.html")
        if "_static" not in path.parts  # the theme's templates lie there
    }


def test_every_page_allows_what_it_needs_and_nothing_else(pages: Pages) -> None:
    assert len(pages) > len(DOCUMENTS)
    for path, page in pages.items():
        if not page.select("script, style, link, img"):
            assert "Refresh" in path.read_text()  # the one that leads to the first page
            continue
        policy = policy_of(page)
        assert policy["default-src"] == ["'none'"]
        assert policy["base-uri"] == ["'none'"]
        scripts = [name for name in policy["script-src"] if not name.startswith("'sha256-")]
        assert set(scripts) <= {"'self'", "blob:", "'unsafe-hashes'"}, path
        wide = {"*", "http:", "https:", "'unsafe-eval'"}
        assert not wide & {name for allowed in policy.values() for name in allowed}, path


@pytest.mark.browser
@pytest.mark.parametrize("from_file", [False, True], ids=["served", "from a folder"])
def test_what_is_put_into_a_page_is_not_run(visit: Open, from_file: bool) -> None:
    opened = visit(f"{CHAPTERS[0]}.html", from_file=from_file)
    refused = []
    opened.page.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
    opened.page.evaluate(
        """() => {
            window.refused = [];
            document.addEventListener("securitypolicyviolation",
                (event) => refused.push(event.effectiveDirective));
            const put = (name, attributes) => {
                const element = Object.assign(document.createElement(name), attributes);
                document.body.append(element);
            };
            put("script", { textContent: "window.hit = 'inline'" });
            put("script", { src: "https://example.org/x.js" });
            put("img", { src: "https://example.org/x.png" });
            put("iframe", { src: "https://example.org/" });
            put("object", { data: "https://example.org/x" });
            put("base", { href: "https://example.org/" });
            put("link", { rel: "stylesheet", href: "https://example.org/x.css" });
            document.body.insertAdjacentHTML("beforeend",
                '<img src="data:," onerror="window.hit = 1">');
            put("form", { action: "https://example.org/" });
            document.body.lastChild.submit();
            fetch("https://example.org/").catch(() => {});
            new Worker("data:text/javascript,1").onerror = () => {};
        }"""
    )
    everything = {
        *("script-src-elem", "script-src-attr", "img-src", "frame-src", "object-src", "base-uri"),
        *("style-src-elem", "form-action", "connect-src", "worker-src"),
    }
    opened.page.evaluate(
        """async (count) => {
            while (new Set(refused).size < count) await new Promise(requestAnimationFrame);
        }""",
        len(everything),
    )
    assert set(opened.page.evaluate("refused")) == everything
    assert opened.page.evaluate("window.hit") is None
    # The browser never sent what it names here.
    assert sorted(opened.outside) == sorted(url for url, why in refused if why == "csp")


def test_links_between_pages_lead_somewhere(pages: Pages, site: Path) -> None:
    anchors = {path: {tag["id"] for tag in page.select("[id]")} for path, page in pages.items()}
    broken = []
    for path, page in pages.items():
        for tag in page.select("a[href], link[href], img[src], script[src]"):
            target = str(tag.get("href") or tag.get("src"))
            if urlsplit(target).scheme or target.startswith("//"):
                continue
            file, anchor = urldefrag(target)
            file = unquote(urlsplit(file).path)
            goal = (path.parent / file).resolve() if file else path
            if goal.is_dir():
                goal /= "index.html"
            # "#" alone is the theme's link to the top of the page.
            if not goal.exists() or (anchor and unquote(anchor) not in anchors.get(goal, {anchor})):
                broken.append(f"{path.relative_to(site)} -> {target}")
    assert broken == []


CLAIMS = """claims:
  E1:
    words: All of them train.
    source: abstract
    scope: Small networks.
    beyond: Deep networks.
    statistic: Share of runs that train.
    holds_if: Every run does.
"""
TABLE_OF_RUNS = """```{list-table} Runs
:name: fig-runs

* - 4
```"""


def test_the_table_of_claims_comes_from_records_and_a_stale_one_stops_the_building(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_book(tmp_path)
    (tmp_path / "_config.yml").symlink_to(ROOT / "_config.yml")
    (tmp_path / "book" / "index.md").write_text("# A book\n\n```{findings} claims\n```\n")
    notebooks, results = tmp_path / "notebooks", "results/05_std_sweep/cpu"
    (notebooks / "claims").mkdir()
    (notebooks / "claims" / "05_std_sweep.yaml").write_text(CLAIMS)
    chapter = notebooks / "05_std_sweep.ipynb"
    notebook = nbformat.read(chapter, 4)
    parameters = nbformat.v4.new_code_cell(f'results = "{results}"')
    parameters.metadata["tags"] = ["parameters", "remove-cell"]
    notebook.cells += [parameters, nbformat.v4.new_markdown_cell(TABLE_OF_RUNS)]
    nbformat.write(notebook, chapter)
    monkeypatch.chdir(notebooks)
    record = notebooks / results / "runs.parquet"
    record.parent.mkdir(parents=True)
    record.write_bytes(b"runs")
    (claim,) = read_claims("claims/05_std_sweep.yaml").values()
    finding = Finding.of(
        claim,
        Cases(3, 1),
        Cases(0, 2),
        summary="Three of four.",
        runs=4000,
        figure="fig-runs",
        files=[f"{results}/runs.parquet"],
        effect=Effect("share", 0.75, 0.5, 0.9),
    )
    finding.write(f"{results}/findings")
    make_book(tmp_path)
    (table,) = parsed(tmp_path / "_build" / "html", "book/index").select(".findings table")
    cells = [" ".join(cell.get_text().split()) for cell in table.select("tbody td")]
    assert cells[0] == "E1. All of them train. A chapter"
    assert cells[1:3] == ["holds in part: 3 of 4 cases", "does not hold: 0 of 2 cases"]
    assert cells[3].startswith("share: 0.75 (0.5 to 0.9). 4,000 runs, Table 5.1, record ")
    assert cells[3].endswith(file_digest(record)[:8])

    record.write_bytes(b"others")
    with pytest.raises(AssertionError, match=r"runs\.parquet, which is another file now"):
        make_book(tmp_path)


PLACEHOLDER = re.compile(r"\b(?:ADDRESS|OWNER|REPOSITORY)\b|<owner>", re.IGNORECASE)
SAID = ("alt", "title", "aria-label", "placeholder")


def keys_in(page: BeautifulSoup) -> set[str]:
    """Words of a page, code apart, that are names for programs."""
    code = page.select("pre, code, script, style, noscript, .math")
    left_out = {id(part) for tag in code for part in (tag, *tag.descendants)}
    texts = [text for text in page.find_all(string=True) if type(text) is NavigableString]
    said = [tag for name in SAID for tag in page.select(f"[{name}]")]
    told = [" ".join(text for text in texts if id(text) not in left_out)]
    told += [str(tag.get(name, "")) for name in SAID for tag in said if id(tag) not in left_out]
    return {word for text in told for word in KEY.findall(text)}


def keys_in_picture(path: Path) -> set[str]:
    """The same of a picture in SVG."""
    parts = [part for part in ElementTree.parse(path).iter() if not part.tag.endswith("}style")]
    told = [str(part.get(name, "")) for name in SAID for part in parts]
    told += [text for part in parts for text in (part.text or "", part.tail or "")]
    return {word for text in told for word in KEY.findall(text)}


def test_what_is_a_key() -> None:
    text = "as_fast (layers_q), 2/fan_in `best_std` a_ 1_2 x_depth.parquet (notebooks/01_a_b)"
    assert KEY.findall(text) == ["as_fast", "layers_q", "fan_in", "best_std"]


def test_no_page_shows_a_key_or_a_placeholder(pages: Pages, site: Path) -> None:
    assert len(pages) > len(DOCUMENTS)
    for path, page in pages.items():
        if "api" not in path.parts:  # the reference is about names
            assert keys_in(page) == set(), path
        text = page.select_one("article")
        found = PLACEHOLDER.findall(text.get_text() if text else "")
        assert [word for word in found if word.isupper() or "<" in word] == [], path
    pictures = list(site.glob("_images/*.svg"))
    assert len(pictures) > len(CHAPTERS)
    for path in pictures:
        assert keys_in_picture(path) == set(), path


@pytest.mark.parametrize(
    ("page", "keys"),
    [
        ("<p>a best_std of <code>fan_in</code></p>", {"best_std"}),
        ("<p title='in fan_in'>of <span class='math'>a_bc</span></p>", {"fan_in"}),
        ("<pre>a_bc<b title='fan_in'>d_ef</b></pre><!-- g_hi --><script>j_kl</script>", set()),
    ],
)
def test_keys_are_found_outside_code(page: str, keys: set[str], tmp_path: Path) -> None:
    assert keys_in(BeautifulSoup(page, "html.parser")) == keys
    picture = tmp_path / "picture.svg"
    picture.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg"><style>.a_bc {}</style><!-- d_ef -->'
        '<text aria-label="the fan_in">best_std<tspan/>of_it</text></svg>'
    )
    assert keys_in_picture(picture) == {"fan_in", "best_std", "of_it"}
