// What is wider than its place scrolls there: it fades at the side where there is more, the keyboard
// reaches it, and those who are read the page are told. A figure can be opened to fill the screen.
(() => {
  /** What scrolls, and as what it is read out. */
  const KINDS = {
    Figure: "article .figure-room",
    Formula: "article :is(div.math > mjx-container, span.math)",
    Table: "article .pst-scrollable-table-container, article .cell_output > .output:has(table)",
    Code: "article .highlight pre",
  };

  /** What was given to a box because it scrolls: names of attributes. */
  const given = new WeakMap();

  /** @param {Element} box */
  function tell(box) {
    const room = box.scrollWidth - box.clientWidth;
    const before = box.scrollLeft > 1;
    const after = box.scrollLeft < room - 1;
    const more = room > 1 ? [before && "before", after && "after"].filter(Boolean).join(" ") : "";
    box.toggleAttribute("data-more", room > 1);
    if (room > 1) box.setAttribute("data-more", more);
  }

  /** @param {Element} box @param {string} kind */
  function follow(box, kind) {
    const scrolls = box.hasAttribute("data-more");
    tell(box);
    if (scrolls === box.hasAttribute("data-more")) return;
    if (scrolls) {
      for (const name of given.get(box) ?? []) box.removeAttribute(name);
    } else { // what it has already, as a formula that explains its symbols, stays
      const told = { tabindex: "0", role: "group", "aria-label": `${kind}, scrolls sideways` };
      const missing = Object.entries(told).filter(([name]) => !box.hasAttribute(name));
      for (const [name, value] of missing) box.setAttribute(name, value);
      given.set(box, missing.map(([name]) => name));
    }
  }

  /** Show a figure as large as the screen, until Escape or the button; then the focus is back. */
  function open(figure) {
    const room = figure.querySelector(".figure-room");
    const screen = document.createElement("dialog");
    screen.className = "figure-screen";
    screen.style.cssText = room.style.cssText;
    const name = figure.querySelector(".caption-number")?.textContent.trim() || "Figure";
    screen.setAttribute("aria-label", name);
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    close.addEventListener("click", () => screen.close());
    const line = document.createElement("p");
    line.append(name, close);
    const place = document.createElement("div");
    place.tabIndex = 0;
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", `${name}, scrolls`);
    const whole = room.firstElementChild.cloneNode(true);
    for (const part of whole.querySelectorAll("source, .of-narrow")) part.remove();
    place.append(whole);
    screen.append(line, place);
    screen.addEventListener("close", () => {
      screen.remove();
      figure.querySelector(".figure-open button").focus({ preventScroll: true });
    });
    document.body.append(screen);
    screen.showModal();
  }

  function start() {
    for (const room of document.querySelectorAll("article .figure-room")) {
      const figure = room.closest("figure");
      for (const opener of [room, figure?.querySelector(".figure-open button")]) {
        opener?.addEventListener("click", () => open(figure));
      }
    }
    for (const [kind, selector] of Object.entries(KINDS)) {
      const sizes = new ResizeObserver((seen) => seen.forEach(({ target }) => follow(target, kind)));
      for (const box of document.querySelectorAll(selector)) {
        sizes.observe(box);
        box.addEventListener("scroll", () => tell(box), { passive: true });
      }
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
