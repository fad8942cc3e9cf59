// Brings the widgets of a page to life, without a kernel and without a network.
//
// A notebook stores the state of its widgets, each with the ES module that draws it; Jupyter Book
// puts both into the page. Here every module gets a small model over its stored state (storedModel of
// stored_model.js, which comes before) and the place where it was shown. This replaces require.js and Jupyter's own widget manager, 3.7 MB.
(() => {
  const scripts = (kind) =>
    document.querySelectorAll(`script[type="application/vnd.jupyter.widget-${kind}+json"]`);

  /** The JSON of a script; myst-nb writes some of it as a string within JSON. */
  function read(script) {
    const value = JSON.parse(script.textContent);
    return typeof value === "string" ? JSON.parse(value) : value;
  }

  /** The stored state, with its buffers as DataView, as in a live notebook. */
  function stateOf({ state, buffers = [] }) {
    const values = { ...state };
    for (const { path, data } of buffers) {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      values[path[0]] = new DataView(bytes.buffer);
    }
    return values;
  }

  const modules = new Map();
  /** Import the text of a module; the same text once. */
  function load(text) {
    if (!modules.has(text)) {
      modules.set(text, import(URL.createObjectURL(new Blob([text], { type: "text/javascript" }))));
    }
    return modules.get(text);
  }

  const styles = new Set();
  function addStyle(text) {
    if (!text || styles.has(text)) return;
    styles.add(text);
    document.head.append(Object.assign(document.createElement("style"), { textContent: text }));
  }

  /** Put an element for the widget where its still picture was. */
  function place(script) {
    const element = document.createElement("div");
    element.className = "live-widget";
    const outputs = script.closest(".cell_output") ?? script.parentElement;
    const picture = [...outputs.querySelectorAll("img")]
      .filter((image) => image.compareDocumentPosition(script) & Node.DOCUMENT_POSITION_FOLLOWING)
      .pop();
    if (picture) picture.before(element);
    else script.before(element);
    return { element, picture };
  }

  /** What moves each widget that lives, by its key: {go, standsAt, told} of its frame. */
  const handles = new Map();

  /** Make buttons of the words in the text that set a widget (see moves.py). */
  function bringWords(key, element) {
    const handle = handles.get(key);
    /** @type {NodeListOf<HTMLElement>} */
    const all = document.querySelectorAll(`span.move[data-moves="${key}"]`);
    if (!handle) return;
    for (const words of all) {
      const parameters = [...new URLSearchParams(words.dataset.settings)];
      const button = document.createElement("button");
      button.type = "button";
      button.className = "move";
      Object.assign(button.dataset, words.dataset);
      button.append(...words.childNodes); // formulas too, which may be set later
      button.title = `Set the instrument: ${handle.told(parameters).join(", ")}`;
      button.addEventListener("click", () => {
        handle.go(parameters);
        show(element);
      });
      words.replaceWith(button);
    }
    mark(key);
  }

  /** Say which of the words a widget stands at. */
  function mark(key) {
    /** @type {NodeListOf<HTMLElement>} */
    const buttons = document.querySelectorAll(`button.move[data-moves="${key}"]`);
    for (const button of buttons) {
      const there = handles.get(key).standsAt([...new URLSearchParams(button.dataset.settings)]);
      button.setAttribute("aria-pressed", String(there));
    }
  }

  /** Scroll as little as it takes for the first picture of a widget to be seen. */
  function show(element) {
    const picture = element.querySelector(".ins-chart-box") ?? element.querySelector(".ins-view") ?? element;
    const { top, bottom } = picture.getBoundingClientRect();
    const under = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0;
    if (top >= under && bottom <= innerHeight) return;
    const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth";
    // @ts-ignore: "instant" is known to browsers longer than to some versions of the type checker
    picture.scrollIntoView({ block: "nearest", behavior });
  }

  // The address follows the controls: a copy of it, a page loaded again and the way back lead to what was set.
  const addresses = new Map(); // of each widget that was moved the settings that are to be in it
  let writing = 0;
  function writeAddress() {
    clearTimeout(writing);
    writing = 0;
    let url = location.href;
    for (const [link, settings] of addresses) url = link(settings, url);
    addresses.clear();
    try {
      history.replaceState(history.state, "", url);
    } catch {
      // Some browsers refuse it to pages from a file, or so often: the next move tries again.
    }
  }
  addEventListener("pagehide", () => { if (writing) writeAddress(); });

  async function start() {
    const stored = Object.assign({}, ...[...scripts("state")].map((script) => read(script).state));
    const parameters = [...new URLSearchParams(location.search)];
    // Guesses that were made before, by number; what the address says of them comes after.
    const guesses = JSON.parse(document.documentElement.dataset.guesses ?? "{}");
    const copies = {};
    await Promise.all([...scripts("view")].map(async (script) => {
      const model = stored[read(script).model_id];
      if (!model?.state._esm) return;
      const values = stateOf(model);
      for (const trait of ["_esm", "_css"]) { // a page holds each text once
        const other = values[trait]?.same_as;
        if (other) values[trait] = stored[other].state[trait];
      }
      const name = values._anywidget_id.split(".").pop();
      copies[name] = (copies[name] ?? 0) + 1;
      const key = copies[name] === 1 ? name : `${name}-${copies[name]}`;
      const { element, picture } = place(script);
      element.dataset.widget = key;
      const { guess } = (name === "Prediction" && guesses[copies[name]]) || {};
      const made = guess
        ? [["guess", guess[0]], ...(guess.length > 1 ? [["guess_high", guess[1]]] : []), ["revealed", "true"]] : [];
      const link = (settings, from = location.href) => {
        const url = new URL(from);
        for (const [setting, value] of Object.entries(settings)) {
          url.searchParams.set(`${key}.${setting}`, value);
        }
        url.hash = element.closest("[id]")?.id ?? "";
        return url.href;
      };
      const steps = element.closest(".widget-room")?.querySelector(".steps");
      let last = "";
      const page = {
        parameters: [
          ...made,
          ...parameters
            .filter(([parameter]) => parameter.startsWith(`${key}.`))
            .map(([parameter, value]) => [parameter.slice(key.length + 1), value]),
        ],
        /** The address with these settings, and those of all other widgets, which is the page's from now on. */
        link(settings) {
          addresses.set(link, settings);
          writeAddress();
          return link(settings);
        },
        steps,
        connect: (handle) => handles.set(key, handle),
        /** Called as the widget has drawn what was set. */
        moved(settings) {
          const now = JSON.stringify(settings);
          if (last && now !== last) {
            addresses.set(link, settings);
            clearTimeout(writing);
            writing = setTimeout(writeAddress, 250);
          }
          last = now;
          mark(key);
        },
      };
      const fail = (error) => {
        /** @type {HTMLElement | null} */
        const room = element.closest(".widget-room");
        room?.style.setProperty("min-height", "0");
        handles.delete(key);
        if (steps && element.contains(steps)) element.after(steps);
        element.remove();
        picture?.classList.remove("still-picture");
        console.error(`The widget ${key} does not start:`, error);
      };
      // The first drawing comes after render: see frame.mjs.
      element.addEventListener("widget-failed", (/** @type {CustomEvent} */ event) => {
        event.preventDefault();
        fail(event.detail);
      });
      try {
        const module = await load(values._esm);
        addStyle(values._css);
        await module.default.render({ model: storedModel(values), el: element, page });
        if (element.isConnected) {
          picture?.classList.add("still-picture");
          bringWords(key, element);
        }
      } catch (error) {
        fail(error);
      }
    }));
    document.documentElement.dataset.widgets = "ready";
    await settle();
    document.documentElement.dataset.settled = "";
  }

  let moved = false; // by the reader: then the page stays where they went
  for (const way of ["wheel", "touchmove", "keydown", "pointerdown"]) {
    addEventListener(way, () => { moved = true; }, { capture: true, once: true, passive: true });
  }

  /** Go to the goal of the link once more, when everything above it has its height. */
  async function settle() {
    if (document.readyState !== "complete") await new Promise((loaded) => addEventListener("load", loaded));
    await document.fonts.ready;
    // Charts are drawn in the next frame, and again in the one after, when they know their width.
    for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
    /** @type {any[]} */
    const [visit] = performance.getEntriesByType("navigation");
    // Who comes back to a page, or loads it again, finds it where they left it.
    if (moved || visit?.type !== "navigate" || !location.hash) return;
    const goal = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    // @ts-ignore: "instant" is known to browsers longer than to some versions of the type checker
    goal?.scrollIntoView({ behavior: "instant" });
  }

  // Paper is white, narrower than most windows, and cannot be opened: colors are those of a light page,
  // drawings shrink to it, and what is folded in the text is shown. Afterwards all is as it was.
  const undo = [];
  addEventListener("beforeprint", () => {
    const { dataset } = document.documentElement;
    const { theme } = dataset;
    dataset.theme = "light";
    undo.push(() => { dataset.theme = theme; });
    /** @type {NodeListOf<HTMLDetailsElement>} */
    const folds = document.querySelectorAll("article details:not([open])");
    for (const fold of folds) {
      fold.open = true;
      undo.push(() => { fold.open = false; });
    }
    for (const drawing of document.querySelectorAll(".live-widget svg[width][height]:not([viewBox])")) {
      drawing.setAttribute("viewBox", `0 0 ${drawing.getAttribute("width")} ${drawing.getAttribute("height")}`);
      undo.push(() => drawing.removeAttribute("viewBox"));
    }
  });
  addEventListener("afterprint", () => undo.splice(0).forEach((step) => step()));

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
