// What is wider than its place scrolls there: it fades at the side where there is more, the keyboard
// reaches it, and those who are read the page are told.
(() => {
  /** What scrolls, and as what it is read out. */
  const KINDS = {
    Formula: "article div.math > mjx-container",
    Table: "article .pst-scrollable-table-container, article .cell_output > .output:has(table)",
    Code: "article .highlight pre",
  };

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
      for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
    } else {
      box.setAttribute("tabindex", "0");
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", `${kind}, scrolls sideways`);
    }
  }

  function start() {
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
