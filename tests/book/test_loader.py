"""The loader of the book's widgets and the frame of a widget, on bare pages in the browser."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import anywidget
import pytest
import traitlets
from playwright.sync_api import Browser, Page, Route
from widget_page import loader, widget_page

from initscope.widgets import bundle as bundling
from initscope.widgets.bundle import SCRIPTS, bundle

pytestmark = pytest.mark.browser

PICTURE = (
    '<img alt="still picture {k}" width="40" height="40" src="data:image/svg+xml,'
    "%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E\">"
)


class Echo(anywidget.AnyWidget):
    """Shows what it was given; the module counts how often it was rendered."""

    _esm = """
    let rendered = 0;
    export default { render({ model, el, page }) {
      rendered += 1;
      el.dataset.rendered = rendered;
      el.textContent = `number ${model.get("number")} given ${JSON.stringify(page.parameters)}`;
      window.linkOf ??= {};
      linkOf[el.dataset.widget] = (settings) => page.link(settings);
      window.models ??= [];
      window.models.push(model);
    } };
    """
    _css = ".echo { color: red; }"
    number = traitlets.Int(1).tag(sync=True)


class Raw(anywidget.AnyWidget):
    _esm = """
    export default { render({ model, el }) {
      const data = model.get("data");
      if (!(data instanceof DataView)) throw new Error("no DataView");
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      el.textContent = `bytes ${[...bytes].join(" ")}`;
    } };
    """
    data = traitlets.Bytes().tag(sync=True)


class Throws(anywidget.AnyWidget):
    _esm = """export default { render({ el }) {
      el.textContent = "half a picture";
      throw new Error("render fails");
    } };"""


class ThrowsLater(anywidget.AnyWidget):
    _esm = 'export default { async render() { await null; throw new Error("render fails"); } };'


class DoesNotParse(anywidget.AnyWidget):
    _esm = "export default { render( };"


class HasNoRender(anywidget.AnyWidget):
    _esm = "export const render = 1; export default {};"


class Visitor:
    """Opens pages from ``file://`` with every outside request noted and refused."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self.browser, self.folder, self.contexts = browser, folder, []
        self.problems: list[str] = []

    def html(self, text: str, query: str = "", wait: bool = True, **options) -> Page:
        context = self.browser.new_context(**options)
        self.contexts.append(context)

        def guard(route: Route) -> None:
            if route.request.url.startswith(("file:", "data:", "blob:")):
                route.continue_()
            else:
                self.problems.append(f"asked for {route.request.url}")
                route.abort()

        context.route("**/*", guard)
        page = context.new_page()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda m: self.problems.append(f"{m.type}: {m.text}"))
        path = self.folder / f"page-{len(self.contexts)}.html"
        path.write_text(text, encoding="utf8")
        page.goto(f"{path.as_uri()}?{query}")
        if wait:
            page.locator("html[data-widgets=ready]").wait_for()
        return page

    def __call__(self, widgets: list, query: str = "", **options) -> Page:
        """A page with a still picture before each widget, as `show` puts it."""
        text = widget_page(widgets)
        for k in range(len(widgets)):
            text = text.replace(f'id="cell-{k}">', f'id="cell-{k}">{PICTURE.format(k=k)}')
        return self.html(text, query, **options)


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Visitor]:
    visitor = Visitor(browser, tmp_path)
    yield visitor
    for context in visitor.contexts:
        context.close()
    assert visitor.problems == []


def still_pictures(page: Page) -> list[bool]:
    return [image.is_visible() for image in page.locator("img").all()]


def test_copies_have_keys_and_settings_of_their_own(visit: Visitor) -> None:
    query = "Echo.number=5&Echo-2.number=7&Echo-2.b=%26%3D&Raw.x=1&Echo-4.number=9&other=1"
    page = visit([Echo(number=1), Raw(data=b""), Echo(number=2), Echo(number=3)], query)
    live = page.locator(".live-widget")
    assert [e.get_attribute("data-widget") for e in live.all()] == [
        "Echo",
        "Raw",
        "Echo-2",
        "Echo-3",
    ]
    assert live.all_inner_texts() == [
        'number 1 given [["number","5"]]',
        "bytes",
        'number 2 given [["number","7"],["b","&="]]',
        "number 3 given []",
    ]


def test_a_link_keeps_what_the_address_said_of_others(visit: Visitor) -> None:
    page = visit([Echo(), Echo()], "Echo.number=5&Echo-2.number=7&other=1")
    link = page.evaluate("linkOf['Echo-2']({ number: 8, text: 'a & b' })")
    assert re.fullmatch(
        r"file:///.*\?Echo\.number=5&Echo-2\.number=8&other=1&Echo-2\.text=a\+%26\+b#cell-1", link
    )


def test_a_module_is_loaded_once_and_its_style_added_once(visit: Visitor) -> None:
    page = visit([Echo(), Echo(), Echo()])
    live = page.locator(".live-widget")
    assert sorted(e.get_attribute("data-rendered") for e in live.all()) == ["1", "2", "3"]
    styles = page.locator("style").all_text_contents()
    assert sum(".echo" in text for text in styles) == 1


def test_copies_do_not_share_their_state(visit: Visitor) -> None:
    page = visit([Echo(number=1), Echo(number=2)])
    found = page.evaluate("(models[0].set('number', 5), models.map((m) => m.get('number')))")
    assert sorted(found) in ([2, 5], [1, 5])


def test_bytes_arrive_as_a_data_view(visit: Visitor) -> None:
    page = visit([Raw(data=bytes(range(250, 256))), Raw(data=b"\x00\x01"), Raw(data=b"")])
    assert page.locator(".live-widget").all_inner_texts() == [
        "bytes 250 251 252 253 254 255",
        "bytes 0 1",
        "bytes",
    ]


@pytest.mark.parametrize("broken", [Throws, ThrowsLater, DoesNotParse, HasNoRender])
def test_a_widget_that_does_not_start_leaves_its_picture(broken: type, visit: Visitor) -> None:
    page = visit([Echo(), broken(), Echo()])
    assert still_pictures(page) == [False, True, False]
    live = page.locator(".live-widget")
    assert [e.get_attribute("data-widget") for e in live.all()] == ["Echo", "Echo-2"]
    (message,) = visit.problems
    assert message.startswith(f"error: The widget {broken.__name__} does not start:")
    visit.problems.clear()


def test_a_page_without_widgets_is_left_as_it_is(visit: Visitor) -> None:
    body = "<p>Nothing <img alt='a figure' src='data:,'> here.</p>"
    page = visit.html(
        f"<!DOCTYPE html><html lang='en'><body>{body}<script>{loader()}</script></body></html>"
    )
    assert page.locator("body > p").count() == 1
    assert page.locator("body *").count() == 3  # with the image and the script
    assert page.locator("style").count() == 0


def test_a_view_without_state_is_passed_over(visit: Visitor) -> None:
    text = widget_page([Echo()])
    (model,) = re.findall(r'"model_id": "(\w+)"', text.split("</main>")[0])
    views, state = text.split("</main>")
    page = visit.html(views.replace(model, "0" * 32) + "</main>" + state)
    assert page.locator(".live-widget").count() == 0


def test_in_print_the_widget_is_there_as_it_was_set(visit: Visitor) -> None:
    page = visit([Echo(), Echo()])
    live = page.locator(".live-widget")
    assert (still_pictures(page), live.first.is_visible()) == ([False, False], True)
    page.emulate_media(media="print")
    assert (still_pictures(page), live.first.is_visible()) == ([False, False], True)
    page.emulate_media(media="screen")
    assert (still_pictures(page), live.first.is_visible()) == ([False, False], True)


def test_without_javascript_the_pictures_are_there(visit: Visitor) -> None:
    page = visit([Echo(), Throws()], wait=False, java_script_enabled=False)
    assert still_pictures(page) == [True, True]
    assert page.locator(".live-widget").count() == 0


def test_two_widgets_of_one_cell_take_a_picture_each(visit: Visitor) -> None:
    text = widget_page([Echo(number=1), Echo(number=2)])
    text = text.replace('id="cell-0">', f'id="cell-0">{PICTURE.format(k=0)}')
    text = text.replace(
        '</div><div class="cell_output" id="cell-1">', PICTURE.format(k=1)
    )  # one output, as of a cell that calls show twice
    page = visit.html(text)
    assert still_pictures(page) == [False, False]
    order = page.locator("#cell-0 > :is(img, div)").evaluate_all(
        "(all) => all.map((e) => e.alt ?? e.dataset.widget)"
    )
    assert order == ["Echo", "still picture 0", "Echo-2", "still picture 1"]


def test_events_of_a_model(visit: Visitor) -> None:
    page = visit([Echo(number=1)])
    heard = page.evaluate("""() => {
        const heard = [];
        const [model] = models;
        const say = (text) => () => heard.push(text);
        const [first, second, any] = [say("first"), say("second"), say("any")];
        model.on("change:number", first);
        model.on("change:number", first); // once is enough
        model.on("change:number", second);
        model.on("change", any);
        const step = (text, act) => { heard.push(text); act(); };
        step("set", () => { model.set("number", 2); model.save_changes(); });
        step("same", () => model.set("number", 2));
        step("not a number", () => { model.set("number", NaN); model.set("number", NaN); });
        step("other", () => model.set("other", 1));
        step("off", () => { model.off("change:number", first); model.set("number", 3); });
        step("off all of one", () => { model.off("change:number"); model.set("number", 4); });
        step("off unknown", () => { model.off("change:nothing", first); model.off("nothing"); });
        const once = () => { heard.push("once"); model.off("change", once); };
        model.on("change", once);
        step("off within", () => { model.set("number", 5); model.set("number", 6); });
        step("off all", () => { model.off(); model.set("number", 7); });
        return [...heard, model.get("number"), model.get("missing") ?? "undefined"];
    }""")
    assert heard == [
        *("set", "first", "second", "any"),
        "same",
        *("not a number", "first", "second", "any"),
        *("other", "any"),
        *("off", "second", "any"),
        *("off all of one", "any"),
        "off unknown",
        *("off within", "any", "once", "any"),
        "off all",
        7,
        "undefined",
    ]


# The frame

FRAMED = """
import { frame } from "./lib/frame.mjs";
import { make } from "./lib/dom.mjs";

const controls = {
  std: { label: "std", kind: "log", min: 1e-4, max: 10 },
  depth: { label: "depth", kind: "integer", min: 1, max: 100 },
  scheme: {
    label: "scheme", kind: "choice", options: [["xavier", "Xavier"], ["kaiming", "Kaiming"]],
  },
  bias: { label: "bias", kind: "switch" },
  secret: { label: "secret", kind: "integer", min: 0, max: 9, hidden: true },
};

function render(context) {
  const shown = make("p", { class: "shown" });
  const updates = [];
  window.updates = updates;
  const f = frame(context, {
    title: "A frame", controls, update,
    python: (s) => `std = ${s.std}`,
    table: () => ({ columns: ["layer", "std"], rows: [[1, f.settings().std]] }),
    reset: context.model.get("resettable"),
  });
  f.view.append(shown);
  window.framed = f;
  function update(s, changed) {
    if (context.model.get("fails")) throw new Error("update fails");
    updates.push([...changed]);
    shown.textContent = JSON.stringify(s);
    f.say(`The std is ${s.std}.`);
  }
  return () => f.destroy();
}
export default { render };
"""


@pytest.fixture(scope="module")
def framed(tmp_path_factory) -> type:
    """A widget of nothing but a frame."""
    folder = tmp_path_factory.mktemp("framed")
    shutil.copytree(SCRIPTS / "lib", folder / "lib")
    (folder / "framed.mjs").write_text(FRAMED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundling, "SCRIPTS", folder)
        bundle.cache_clear()
        text = bundle("framed.mjs")
        bundle.cache_clear()

    class Framed(anywidget.AnyWidget):
        _esm = text
        _css = (SCRIPTS / "widget.css").read_text()
        std = traitlets.Float(0.5).tag(sync=True)
        depth = traitlets.Int(8).tag(sync=True)
        scheme = traitlets.Unicode("kaiming").tag(sync=True)
        bias = traitlets.Bool(False).tag(sync=True)
        secret = traitlets.Int(3).tag(sync=True)
        resettable = traitlets.Bool(True).tag(sync=True)
        fails = traitlets.Bool(False).tag(sync=True)
        message = traitlets.Unicode().tag(sync=True)

    return Framed


START = '{"std":0.5,"depth":8,"scheme":"kaiming","bias":false,"secret":3}'


def settings(page: Page) -> str:
    page.evaluate("() => new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)))")
    return page.locator(".shown").inner_text()


def test_controls_change_the_settings_and_reset_brings_them_back(visit, framed) -> None:
    page = visit([framed()])
    assert settings(page) == START
    std, depth = page.locator("input[type=range]").all()  # none for what is hidden
    std.fill("-2")
    depth.focus()
    page.keyboard.press("ArrowRight")
    page.locator("select").select_option(label="Xavier")
    page.get_by_label("bias").check()
    changed = '{"std":0.01,"depth":9,"scheme":"xavier","bias":true,"secret":3}'
    assert settings(page) == changed
    assert page.get_by_role("status").inner_text() == "The std is 0.01."
    page.evaluate("framed.set({ secret: 7 })")
    assert settings(page) == changed.replace("3}", "7}")
    page.get_by_role("button", name="Reset").click()
    assert settings(page) == START
    assert [box.input_value() for box in (depth, page.locator("select"))] == ["8", "kaiming"]
    assert float(std.input_value()) == pytest.approx(-0.301, abs=0.013)  # the slider has steps
    assert not page.get_by_label("bias").is_checked()


def test_a_first_drawing_that_fails_brings_the_picture_back(visit, framed) -> None:
    page = visit([framed(fails=True), framed()])
    page.get_by_text("The std is 0.5.").wait_for()
    assert still_pictures(page) == [True, False]
    assert page.locator(".live-widget").count() == 1
    (message,) = visit.problems
    assert message.startswith("error: The widget Framed does not start: Error: update fails")
    visit.problems.clear()


def test_reset_goes_back_to_the_page_and_not_to_the_address(visit, framed) -> None:
    page = visit([framed()], "Framed.std=0.02&Framed.secret=5&Framed.scheme=xavier")
    assert settings(page) == START.replace("0.5", "0.02").replace("kaiming", "xavier").replace(
        '"secret":3', '"secret":5'
    )
    page.get_by_role("button", name="Reset").click()
    assert settings(page) == START


def test_a_widget_may_do_without_reset(visit, framed) -> None:
    page = visit([framed(resettable=False)])
    assert page.get_by_role("button", name="Reset").count() == 0


def test_changes_within_a_frame_are_one_update(visit, framed) -> None:
    page = visit([framed()])
    settings(page)
    page.evaluate("updates.length = 0; framed.set({ std: 1, depth: 2 }); framed.set({ std: 2 })")
    settings(page)
    assert page.evaluate("updates") == [["std", "depth"]]
    page.evaluate("framed.destroy(); updates.length = 0; framed.set({ std: 3 })")
    settings(page)
    assert page.evaluate("updates") == []


@pytest.mark.parametrize("allowed", [True, False])
def test_the_link_is_copied_or_shown(visit, framed, allowed: bool) -> None:
    page = visit([framed(), framed()])
    page.evaluate(f"""() => {{
        navigator.clipboard.writeText = async (text) => {{
            if (!{str(allowed).lower()}) throw new DOMException("refused", "NotAllowedError");
            window.copied = text;
        }};
    }}""")
    page.locator("input[type=range]").nth(2).fill("-3")
    button = page.get_by_role("button", name="Copy link").nth(1)
    button.click()
    address = page.get_by_label("Link to this configuration").nth(1)
    if allowed:
        page.get_by_role("button", name="Link copied").wait_for()
        assert not address.is_visible()
        link = page.evaluate("copied")
    else:
        address.wait_for()
        link = address.input_value()
        selected = "(box) => box.value.slice(box.selectionStart, box.selectionEnd)"
        assert address.evaluate(selected) == link
        assert address.evaluate("(box) => box === document.activeElement")
    assert "Framed-2.std=0.001&Framed-2.depth=8" in link
    page.goto(link)
    page.locator("html[data-widgets=ready]").wait_for()
    page.get_by_text("The std is 0.001.").wait_for()
    assert page.get_by_role("status").all_inner_texts() == ["The std is 0.5.", "The std is 0.001."]


def test_code_and_table_follow_the_settings(visit, framed) -> None:
    page = visit([framed()])
    button = page.get_by_role("button", name="Show me the Python")
    button.click()
    assert page.locator(".ins-code").inner_text() == "std = 0.5"
    assert button.get_attribute("aria-expanded") == "true"
    page.locator("input[type=range]").first.fill("-1")
    page.get_by_text("std = 0.1").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "a-frame.csv"
    assert Path(download.value.path()).read_text() == "layer,std\n1,0.1\n"
    button.click()
    assert not page.locator(".ins-code").is_visible()


def test_what_the_address_says_wrongly_is_noted(visit, framed) -> None:
    page = visit([framed()], "Framed.std=cat&Framed.scheme=%3Cb%3E&Framed.what=1&Framed.depth=1e9")
    assert page.locator(".ins-note").inner_text() == (
        '"std=cat" in the address is not understood and left out. '
        '"scheme=<b>" in the address is not understood and left out. '
        '"what=1" in the address is not understood and left out.'
    )
    assert settings(page) == START.replace(":8", ":100")


def test_in_a_notebook_there_is_no_address(visit, framed) -> None:
    """A live notebook gives no `page`: the widget works, and has no link to copy."""
    page = visit([framed()])
    text = framed._esm.read_text() if hasattr(framed._esm, "read_text") else str(framed._esm)
    page.evaluate(
        """async (text) => {
            const blob = new Blob([text], { type: "text/javascript" });
            const module = await import(URL.createObjectURL(blob));
            const values = { std: 2, depth: 5, scheme: "xavier", bias: true, secret: 1 };
            const model = {
                get: (name) => values[name] ?? name === "resettable",
                set(name, value) { values[name] = value; },
                on() {}, off() {}, save_changes() {},
            };
            const el = document.body.appendChild(document.createElement("div"));
            el.id = "notebook";
            module.default.render({ model, el });
        }""",
        text,
    )
    notebook = page.locator("#notebook")
    notebook.get_by_text('"std":2,').wait_for()
    names = notebook.get_by_role("button").all_inner_texts()
    assert names == ["Show me the Python", "Download CSV", "Reset"]


# Words that set a widget, and the address


def said_of(key: str, query: str, words: str) -> str:
    """Markup of words as moves.py writes it."""
    return f'<span class="move" data-moves="{key}" data-settings="{query}">{words}</span>'


def with_words(widgets: list, *words: str) -> str:
    """A page of widgets, with words below them."""
    return widget_page(widgets).replace("</main>", f"<p id='words'>{' '.join(words)}</p></main>")


def pressed(page: Page) -> list[str | None]:
    page.evaluate("() => new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)))")
    return [one.get_attribute("aria-pressed") for one in page.locator("button.move").all()]


def test_words_set_their_widget_as_a_link_would(visit, framed) -> None:
    words = [
        said_of("Framed-2", "std=0.02&amp;secret=5", "two <em>hundredths</em>"),
        said_of("Framed-2", "scheme=xavier", "Xavier"),
        said_of("Framed", "std=0.5", "the start of the other"),
        said_of("Framed-3", "std=1", "nobody"),
    ]
    page = visit.html(with_words([framed(), framed(bias=True)], *words))
    buttons = page.locator("button.move")
    assert buttons.all_inner_texts() == ["two hundredths", "Xavier", "the start of the other"]
    assert buttons.first.locator("em").count() == 1
    assert page.locator("span.move").all_inner_texts() == ["nobody"]
    assert pressed(page) == ["false", "false", "true"]
    assert buttons.first.get_attribute("title") == "Set the instrument: std 0.02, secret 5"
    shown = page.locator(".shown")
    buttons.first.click()
    there = START.replace("0.5", "0.02").replace("false", "true").replace("3}", "5}")
    assert pressed(page) == ["true", "false", "true"]
    assert shown.all_inner_texts() == [START, there]
    # What is not named is as the page has it.
    page.get_by_label("depth").nth(1).fill("40")
    assert pressed(page) == ["false", "false", "true"]
    buttons.nth(1).focus()
    page.keyboard.press("Enter")
    assert pressed(page) == ["false", "true", "true"]
    other = START.replace("false", "true").replace("kaiming", "xavier")
    assert shown.all_inner_texts() == [START, other]
    assert page.evaluate("document.activeElement.textContent") == "Xavier"
    page.get_by_label("depth").first.fill("40")
    page.keyboard.press("Tab")
    assert pressed(page) == ["false", "true", "false"]


def test_words_of_a_widget_that_does_not_start_are_words(visit, framed) -> None:
    page = visit.html(with_words([framed(fails=True)], said_of("Framed", "std=1", "one")))
    assert page.locator("button.move").count() == 0
    assert page.locator("span.move").inner_text() == "one"
    visit.problems.clear()


def test_without_javascript_words_are_words(visit, framed) -> None:
    text = with_words([framed()], said_of("Framed", "std=1", "one"), "and two.")
    page = visit.html(text, wait=False, java_script_enabled=False)
    assert page.locator("#words").inner_text() == "one and two."
    assert page.get_by_role("button").count() == 0


@pytest.mark.parametrize("far", [0, 5000])
def test_the_widget_is_scrolled_into_view_if_it_is_not(visit, framed, far: int) -> None:
    gap = f"<div style='height: {far}px'></div>"
    text = with_words([framed()], gap + said_of("Framed", "std=1", "one"))
    page = visit.html(text, reduced_motion="reduce")
    button = page.get_by_role("button", name="one")
    button.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    button.click()
    top, bottom = page.locator(".ins-view").evaluate(
        "one => [one.getBoundingClientRect().top, one.getBoundingClientRect().bottom]"
    )
    assert -1 < top < bottom < page.evaluate("innerHeight") + 1
    assert (page.evaluate("scrollY") != before) == bool(far)


def test_the_address_follows_the_controls(visit, framed) -> None:
    page = visit([framed(), framed()], "Framed.depth=7&other=1")
    start = page.url
    page.wait_for_timeout(400)
    assert page.url == start  # nobody has moved anything
    page.get_by_label("bias").nth(1).check()
    page.wait_for_timeout(400)
    for one in ("Framed-2.std=0.5", "Framed-2.bias=true", "Framed.depth=7", "other=1"):
        assert one in page.url
    moved = page.url
    page.reload()
    page.locator("html[data-widgets=ready]").wait_for()
    assert page.locator(".shown").all_inner_texts() == [
        START.replace(":8", ":7"),
        START.replace("false", "true"),
    ]
    assert page.url == moved


def test_back_leads_to_what_was_set(visit, framed) -> None:
    page = visit([framed()])
    entries = page.evaluate("history.length")
    page.locator("input[type=range]").first.fill("-2")
    page.locator("input[type=range]").first.fill("-3")
    settings(page)
    page.goto("about:blank")  # at once: what was set last is written as the page is left
    page.go_back()
    page.locator("html[data-widgets=ready]").wait_for()
    assert settings(page) == START.replace("0.5", "0.001")
    assert page.evaluate("history.length") == entries + 1
