// Shows all code of the book, or folds it, as the switch at the top of each chapter says.
//
// This runs before the text is read, so that nothing moves later. Without scripts each piece of code
// opens by itself.
(() => {
  const KEY = "show-all-code";
  const root = document.documentElement;
  root.classList.add("scripted");

  /** Whether all code is shown. A browser may keep nothing: then the switch is that of the page. */
  const kept = () => {
    try {
      return localStorage.getItem(KEY) === "yes";
    } catch {
      return false;
    }
  };
  function keep(shown) {
    try {
      localStorage.setItem(KEY, shown ? "yes" : "no");
    } catch { /* kept by nobody */ }
  }

  function show(shown) {
    /** @type {NodeListOf<HTMLDetailsElement>} */
    const folds = document.querySelectorAll("article details.hide");
    for (const fold of folds) fold.open = shown;
    document.querySelector(".code-switch button")?.setAttribute("aria-checked", String(shown));
  }

  if (kept()) {
    // As the page is read, before it is drawn.
    const observer = new MutationObserver(() => show(true));
    observer.observe(root, { childList: true, subtree: true });
    addEventListener("DOMContentLoaded", () => { show(true); observer.disconnect(); });
  }
  addEventListener("pageshow", (event) => { // who goes back finds what was chosen meanwhile
    if (event.persisted) show(kept());
  });
  addEventListener("click", ({ target }) => {
    const button = target instanceof Element ? target.closest(".code-switch button") : null;
    if (!button) return;
    const shown = button.getAttribute("aria-checked") !== "true";
    show(shown);
    keep(shown);
  });
})();
