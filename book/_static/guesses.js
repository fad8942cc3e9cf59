// Predict, then be told: folds the answers of a chapter until its guesses are made or skipped.
//
// This runs before the text is read, so that nothing moves later: what is still to be guessed stands
// as a class on the page, awaits-1, awaits-2 and so on, and the style sheet does the rest. Guesses are
// those of the widgets Prediction, Prediction-2, ...; the first of each is kept in this browser, with
// its score, by page. Who skips them skips those of all chapters.
(() => {
  const KEY = "guesses";
  const MOST = 6;
  const WORDS = { close: "close", near: "near", far: "far off" };
  const root = document.documentElement;
  const name = location.pathname.split("/").pop()?.replace(/\.html$/, "") ?? "";
  const numberOf = (widget) => Number(widget.split("-")[1] ?? 1);

  /** @type {{ skipped?: boolean, pages?: Record<string, Record<string, { guess: number[], score: string }>> }} */
  let state = {};
  const read = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
      state = kept !== null && typeof kept === "object" && !Array.isArray(kept) ? kept : {};
    } catch { /* nothing is kept, or nothing that is understood: this page begins anew */ }
  };
  const keep = () => {
    try {
      localStorage.setItem(KEY, JSON.stringify(state));
    } catch { /* then it is forgotten with the page */ }
  };
  /** The guesses of this page by number. */
  const made = () => state.pages?.[name] ?? {};

  function tell() {
    for (let k = 1; k <= MOST; k += 1) root.classList.toggle(`awaits-${k}`, !state.skipped && !made()[k]);
    // For widgets.js: they come back as they were left.
    root.dataset.guesses = JSON.stringify(made());
  }
  read();
  tell();

  /** Lay the guesses over the figures: a line for a number, a band for two. */
  function draw() {
    /** @type {NodeListOf<HTMLElement>} */
    const figures = document.querySelectorAll(".guess-marks");
    for (const marks of figures) {
      /** @type {{ guesses: number[], along: string, log: boolean, ends: number[], box: number[] }[]} */
      const panels = JSON.parse(marks.dataset.panels ?? "[]");
      const several = panels.some(({ guesses }) => guesses.length > 1);
      const single = panels.flatMap(({ guesses, ...panel }) => guesses.map((k) => ({ k, ...panel })));
      marks.replaceChildren(...single.flatMap(({ k, along, log, ends, box }) => {
        if (!made()[k]) return [];
        const scale = log ? Math.log : Number;
        const [from, to] = ends.map(scale);
        const at = made()[k].guess
          .map((value) => (scale(value) - from) / (to - from)).sort((a, b) => a - b);
        const shares = at.map((share) => Math.min(1, Math.max(0, share)));
        // A guess that the axis does not reach is drawn at its end, and said to lie beyond.
        const beyond = at[at.length - 1] < 0 ? ", lower" : at[0] > 1 ? ", higher" : "";
        const [left, top, width, height] = box;
        const low = shares[0];
        const long = shares[shares.length - 1] - low;
        const place = along === "x"
          ? [left + low * width, top, long * width, height]
          : [left, top + (1 - low - long) * height, width, long * height];
        const mark = document.createElement("span");
        mark.className = `guess-mark along-${along}${long ? "" : " of-a-number"}`;
        // Below a line at the lower end there is no room for its name.
        mark.classList.toggle("named-above", along === "y" && low + long < 0.15);
        ["left", "top", "width", "height"].forEach((side, i) => { mark.style[side] = `${100 * place[i]}%`; });
        const label = document.createElement("span");
        label.textContent = (several ? `guess ${k}` : "your guess") + beyond;
        mark.append(label);
        return [mark];
      }));
    }
  }

  function keepScore() {
    /** @type {HTMLElement | null} */
    const place = document.querySelector(".guess-score");
    if (!place) return;
    const count = Number(place.dataset.guesses);
    const all = Array.from({ length: count }, (_, i) => i + 1);
    const done = all.filter((k) => made()[k]);
    const scores = Object.keys(WORDS)
      .map((score) => [done.filter((k) => made()[k].score === score).length, WORDS[score]])
      .filter(([n]) => n).map(([n, word]) => `${n} ${word}`).join(", ");
    const sentence = state.skipped && !done.length ? "You skipped them."
      : done.length === 0 ? `None of ${count} made yet.`
        : `${done.length} of ${count} made: ${scores}.`;
    const links = all.flatMap((k) => {
      const link = document.createElement("a");
      link.href = `#Prediction${k > 1 ? `-${k}` : ""}`;
      link.textContent = count > 1 ? `Guess ${k}` : "The guess";
      const score = made()[k];
      return [" ", link, score ? `: ${WORDS[score.score]}.` : state.skipped ? ": skipped." : ": open."];
    });
    const again = document.createElement("button");
    again.type = "button";
    again.textContent = state.skipped ? "Guess after all" : "Forget my guesses";
    again.onclick = () => {
      read();
      delete state.skipped;
      delete state.pages?.[name];
      keep();
      // Without what the address says of them, too.
      location.replace(`${location.pathname}?`);
    };
    const title = document.createElement("strong");
    title.textContent = "Your guesses. ";
    const text = document.createElement("p");
    text.append(title, sentence, ...links);
    place.replaceChildren(text, ...(done.length || state.skipped ? [again] : []));
  }

  function show() {
    tell();
    draw();
    keepScore();
  }
  document.addEventListener("DOMContentLoaded", show);
  addEventListener("pageshow", (event) => { // who goes back finds what was skipped meanwhile
    if (!event.persisted) return;
    read();
    show();
  });

  // A widget tells the guess that was made: the first one counts.
  document.addEventListener("guess-made", (/** @type {CustomEvent} */ event) => {
    /** @type {HTMLElement | null} */
    const widget = event.target instanceof Element ? event.target.closest("[data-widget]") : null;
    if (!widget?.dataset.widget) return;
    const k = numberOf(widget.dataset.widget);
    if (made()[k]) return;
    read(); // another page may have been open beside this one
    state.pages = { ...state.pages, [name]: { ...made(), [k]: event.detail } };
    keep();
    show();
  });

  addEventListener("click", ({ target }) => {
    const button = target instanceof Element ? target.closest(".guess-bar button") : null;
    if (!button) return;
    read();
    state.skipped = true;
    keep();
    show();
    // The button is gone: what it opened takes the keyboard, and is read.
    /** @type {HTMLElement | null | undefined} */
    const answer = button.closest(".after-guess")?.querySelector(".answer");
    answer?.focus({ preventScroll: true });
  });

  // Who comes by a link to something in an answer arrives there. It stays open when they go on.
  function arrive() {
    const goal = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const waiting = goal?.closest(".after-guess:not(.opened)");
    if (!waiting) return;
    waiting.classList.add("opened");
    goal?.scrollIntoView();
  }
  addEventListener("hashchange", arrive);
  document.addEventListener("DOMContentLoaded", arrive);
})();
