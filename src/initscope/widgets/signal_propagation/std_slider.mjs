// The slider over the std of the weights: a track on which what matters is wide enough to be hit.
//
// It is centered on sqrt(2/n) and reaches a decade to each side. The stds that keep signal and gradient
// through 50 layers are a fiftieth of a decade: the scale is stretched in the middle, as a sinh is.

import { make } from "../lib/dom.mjs";
import { STD_RANGE, schemeStd } from "./theory.mjs";

const STRETCH = 4;
const STEP = 0.005;
/** Pixels round a detent within which a pointer falls into it; fewer than the band is wide. */
const CATCH = 4;
const WHOLE = STD_RANGE.map(Math.log10);

/** Place of a std on the track, from -1 to 1; beyond for one that is not on it. */
export function placeOf(std, width, whole) {
  if (whole) return (2 * (Math.log10(std) - WHOLE[0])) / (WHOLE[1] - WHOLE[0]) - 1;
  return Math.asinh(Math.log10(std / schemeStd("kaiming", width)) * Math.sinh(STRETCH)) / STRETCH;
}

/** The std at a place on the track. */
export function stdAt(place, width, whole) {
  if (whole) return 10 ** (WHOLE[0] + ((place + 1) / 2) * (WHOLE[1] - WHOLE[0]));
  return schemeStd("kaiming", width) * 10 ** (Math.sinh(STRETCH * place) / Math.sinh(STRETCH));
}

/** Whether a std is not on the track round sqrt(2/n), its ends being rounded. */
const isBeyond = (std, width) => Math.abs(placeOf(std, width, false)) > 1.001;

/** As many digits as two places on the track need to differ. */
export const rounded = (std) => Number(std.toPrecision(5));

/**
 * The control: {element, show(settings), band(kept, settings)}. `change` is called with the settings
 * that the reader makes, `format` gives the std as text.
 */
export function stdSlider(change, format) {
  let now = { std: 1, width: 1, scheme: "free" };
  let whole = false;
  let held = false; // by a pointer, which falls into detents; keys go through them
  const good = make("span", { class: "ins-rail-good", hidden: true });
  const ticks = ["xavier", "kaiming"].map((scheme) => ({
    scheme,
    tick: make("span", { class: "ins-rail-tick" }),
    name: make("span", { class: "ins-rail-name" }),
  }));
  const ends = ["start", "end"].map((side) => make("span", { class: `ins-rail-${side}` }));
  const key = make("span", { class: "ins-rail-name ins-rail-key" }, "keeps both");
  const rail = make(
    "span", { class: "ins-rail", "aria-hidden": "true" }, good, ...ticks.map(({ tick }) => tick),
  );
  const names = make("span", { class: "ins-rail-names", "aria-hidden": "true" }, ...ends, ...ticks.map(({ name }) => name), key);
  const range = make("input", {
    type: "range", min: -1, max: 1, step: STEP,
    onpointerdown: () => { held = true; },
    onpointerup: () => { held = false; },
    onpointercancel: () => { held = false; },
    onkeydown: () => { held = false; },
    oninput: () => {
      const place = Number(range.value);
      const caught = held && ticks.find(({ scheme }) =>
        Math.abs(placeOf(schemeStd(scheme, now.width), now.width, whole) - place) * range.clientWidth < 2 * CATCH);
      if (!caught) return change({ std: rounded(stdAt(place, now.width, whole)) });
      // On square matrices Xavier's std is LeCun's.
      const same = caught.scheme === "xavier" && now.scheme === "lecun";
      return change({ scheme: same ? "lecun" : caught.scheme, std: schemeStd(caught.scheme, now.width) });
    },
  });
  const field = make("input", {
    class: "ins-field", type: "text", inputmode: "decimal", size: 8, autocomplete: "off", "aria-label": "std of the weights, as a number",
    oninput: () => field.setCustomValidity(""),
    onchange: () => {
      const typed = Number(field.value.trim().replace(",", "."));
      if (typed >= STD_RANGE[0] && typed <= STD_RANGE[1]) return change({ std: typed });
      field.setCustomValidity(`A number from ${STD_RANGE[0]} to ${STD_RANGE[1]}.`);
      field.reportValidity();
      field.setCustomValidity("");
      field.value = String(rounded(now.std));
      return undefined;
    },
  });
  const all = make("button", {
    type: "button", class: "ins-small", "aria-pressed": "false",
    onclick: () => {
      if (isBeyond(now.std, now.width)) return; // it is not on the other track
      whole = !whole;
      place();
    },
  }, "Whole range");

  let kept = null;
  function place() {
    const { std, width } = now;
    const outside = isBeyond(std, width);
    if (outside) whole = true;
    range.value = String(placeOf(std, width, whole));
    range.setAttribute("aria-valuetext", format(std));
    field.value = String(rounded(std));
    all.setAttribute("aria-pressed", String(whole));
    all.setAttribute("aria-disabled", String(outside));
    const percent = (at) => `${50 * (1 + Math.max(-1, Math.min(1, at)))}%`;
    for (const { scheme, tick, name } of ticks) {
      const at = placeOf(schemeStd(scheme, width), width, whole);
      tick.style.left = percent(at);
      name.style.left = percent(at);
      if (scheme === "xavier") name.textContent = whole ? "" : "Xavier, LeCun";
      else name.textContent = whole ? "Xavier, Kaiming" : "Kaiming";
    }
    ends.forEach((end, k) => { end.textContent = whole ? String(STD_RANGE[k]) : ["÷10", "×10"][k]; });
    const seen = kept && !Number.isNaN(kept.low) ? [kept.low, kept.high].map((one) => placeOf(one, width, whole)) : null;
    const there = seen !== null && seen[1] > -1 && seen[0] < 1;
    good.hidden = !there;
    key.classList.toggle("ins-unseen", !there);
    if (there) {
      good.style.left = percent(seen[0]);
      good.style.right = `calc(100% - ${percent(seen[1])})`;
    }
  }

  const label = make(
    "label", { class: "ins-std-label" },
    make("span", { class: "ins-label ins-sigma" }, "std of the weights"),
    make("span", { class: "ins-track" }, rail, range, names),
  );
  const element = make("div", { class: "ins-std" }, label, field, all);
  return {
    element,
    /** Where the settings stand. */
    show(settings) {
      now = settings;
      place();
    },
    /** Which stds keep the variance, as `keeping` finds them. */
    band(found) {
      kept = found;
      place();
    },
  };
}
