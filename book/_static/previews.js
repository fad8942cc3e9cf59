// Symbols explain themselves, and references show what they lead to: by pointer, by focus, by tap.
//
// A formula has the numbers of its symbols as a class, the page their meanings; what a link to another
// page leads to stands in the page as a template (see previews.py). One card shows them, over the page,
// so that nothing moves.
(() => {
  const start = () => {
    const holder = document.getElementById("meanings");
    /** @type {[string, string][]} */
    const meanings = JSON.parse(holder?.textContent ?? "[]");
    const LINK = "article a.reference.internal[href*='#']";
    const FORMULA = "article [class*='symbols-']";

    /** The numbers of what explains the symbols of a formula. */
    const numbersOf = (formula) => formula.className.match(/(?:^|\s)symbols-([\d-]+)/)?.[1].split("-").map(Number) ?? [];

    // By keyboard one comes to a formula where a symbol is new on the page.
    const known = new Set();
    for (const formula of document.querySelectorAll(FORMULA)) {
      const fresh = numbersOf(formula).filter((number) => !known.has(number));
      if (!fresh.length || formula.closest("details, .dropdown, a, button")) continue;
      fresh.forEach((number) => known.add(number));
      formula.setAttribute("tabindex", "0");
    }

    const card = document.createElement("div");
    card.className = "preview";
    card.id = "preview";
    card.setAttribute("role", "tooltip");
    card.hidden = true;
    document.body.append(card);
    let shownFor = null;
    let timer = 0;

    /** A copy of what a link leads to, as far as it can be read; null if there is none. */
    function copyOf(link) {
      const url = new URL(link.href);
      const place = decodeURIComponent(url.hash.slice(1));
      const here = url.pathname === location.pathname;
      /** @type {NodeListOf<HTMLTemplateElement>} */
      const templates = document.querySelectorAll("template[data-copy-of]");
      const target = here
        ? document.getElementById(place)
        : [...templates].find((one) => one.dataset.copyOf === link.getAttribute("href"))?.content;
      if (!target || target.contains(link)) return null;
      const copy = document.createElement("div");
      // An answer that waits for the reader's guess is not shown beside it.
      if (target instanceof HTMLElement && target.closest(".answer") && getComputedStyle(target).visibility === "hidden") {
        copy.textContent = "An answer that waits for your guess.";
        return copy;
      }
      if (here && target instanceof HTMLElement && target.matches("section, h1, h2, h3, span, .widget-place")) {
        const section = target.closest("section");
        copy.append(...[...section?.children ?? []].slice(0, 2).map((part) => part.cloneNode(true)));
      } else if (target instanceof HTMLElement && target.matches("dt")) { // a name of the package
        const call = document.createElement("div");
        call.append(...[...target.childNodes].map((part) => part.cloneNode(true)));
        const said = target.nextElementSibling?.querySelector("p");
        copy.append(call, ...(said ? [said.cloneNode(true)] : []));
      } else copy.append(target.cloneNode(true));
      const left =
        ".live-widget, .steps, .headerlink, .still-note, noscript, script, style, details, .eqno, .citation > .label";
      for (const part of copy.querySelectorAll(left)) part.remove();
      for (const part of copy.querySelectorAll("*")) {
        for (const name of ["id", "tabindex", "role", "name"]) part.removeAttribute(name);
        part.classList.remove("still-picture");
      }
      for (const part of copy.querySelectorAll("a, button, .widget-place, .widget-room")) part.replaceWith(...part.childNodes);
      return copy.textContent?.trim() || copy.querySelector("img, svg") ? copy : null;
    }

    /** What the symbols of a formula mean, as a list. */
    function explanation(formula) {
      const list = document.createElement("dl");
      for (const number of numbersOf(formula)) {
        const [look, meaning] = meanings[number] ?? [];
        if (!look) continue;
        const [term, description] = ["dt", "dd"].map((tag) => document.createElement(tag));
        term.innerHTML = look;
        description.innerHTML = meaning;
        list.append(term, description);
      }
      return list.children.length ? list : null;
    }

    function hide() {
      clearTimeout(timer);
      shownFor?.removeAttribute("aria-describedby");
      shownFor = null;
      card.hidden = true;
    }

    /** Show the card below what it is about, or above it where there is more room. */
    function show(about, byTap = false) {
      clearTimeout(timer);
      if (shownFor === about) return true;
      const inside = about.matches(LINK) ? copyOf(about) : explanation(about);
      if (!inside) return false;
      hide();
      shownFor = about;
      card.replaceChildren(inside);
      if (byTap && about.matches(LINK)) {
        const go = document.createElement("a");
        go.href = about.href;
        go.textContent = "Go there";
        card.append(go);
      }
      about.setAttribute("aria-describedby", card.id);
      card.hidden = false;
      card.scrollTop = 0;
      card.style.maxHeight = "none";
      const at = about.getClientRects()[0] ?? about.getBoundingClientRect();
      const { width, height } = card.getBoundingClientRect();
      const [above, below] = [at.top - 16, innerHeight - at.bottom - 16];
      const under = height <= below || below >= above;
      const room = Math.max(80, under ? below : above);
      card.style.maxHeight = `${room}px`;
      card.style.left = `${Math.max(8, Math.min(at.left, document.documentElement.clientWidth - width - 8))}px`;
      card.style.top = `${under ? at.bottom + 8 : at.top - 8 - Math.min(height, room)}px`;
      return true;
    }

    const aboutOf = (target) => (target instanceof Element ? target.closest(`${LINK}, ${FORMULA}`) : null);
    const later = (act, wait) => {
      clearTimeout(timer);
      timer = setTimeout(act, wait);
    };
    document.addEventListener("pointerover", ({ target, pointerType }) => {
      if (pointerType === "touch") return;
      const about = aboutOf(target);
      if (about) later(() => show(about), 250);
      else if (target instanceof Element && card.contains(target)) clearTimeout(timer);
      else if (shownFor && shownFor !== document.activeElement) later(hide, 250);
      else if (!shownFor) clearTimeout(timer);
    });
    document.addEventListener("focusin", ({ target }) => {
      const about = aboutOf(target);
      if (about?.matches(":focus-visible")) show(about);
      else if (shownFor && target instanceof Element && !card.contains(target)) hide();
    });
    document.addEventListener("focusout", ({ relatedTarget }) => {
      if (shownFor && !(relatedTarget instanceof Element && card.contains(relatedTarget)) && !card.matches(":hover")) hide();
    });
    // A finger sees the card first, and follows the link from there, or with a second tap.
    let touched = false;
    document.addEventListener("pointerdown", ({ pointerType }) => { touched = pointerType === "touch"; }, true);
    document.addEventListener("click", (event) => {
      const about = aboutOf(event.target);
      if (touched && about && about !== shownFor && show(about, true)) event.preventDefault();
      else if (event.target instanceof Element && !card.contains(event.target)) hide();
    });
    document.addEventListener("keydown", ({ key }) => { if (key === "Escape") hide(); });
    addEventListener("scroll", () => { if (shownFor) hide(); }, { passive: true });
    addEventListener("resize", hide);
    document.documentElement.dataset.previews = "ready";
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
