// The slider over the std of the weights: a track on which what matters is wide enough to be hit.
//
// It is centered on sqrt(2/n) and reaches a decade to each side. The stds that keep signal and gradient
// through 50 layers are a fiftieth of a decade: the scale is stretched in the middle, as a sinh is. Under
// GELU they are a three-thousandth, too few for any such scale: there one zooms in on them.

import { make } from "../lib/dom.mjs";
import { STD_RANGE, schemeStd } from "./theory.mjs";

const STRETCH = 4;
const STEP = 0.005;
/** Pixels round a detent within which a pointer falls into it; fewer than the band is wide. */
const CATCH = 4;
const WHOLE = STD_RANGE.map(Math.log10);

/**
 * A track: null for the one round sqrt(2/n), or the powers of ten at the ends of another.
 *
 * @typedef {number[] | null} Track
 */

/** The track on which `low` to `high` take a tenth: enough to hit, and what is beside it is seen. */
export function zoomed({ low, high }) {
  const [from, to] = [low, high].map(Math.log10);
  const reach = 4.5 * (to - from);
  return [Math.max(WHOLE[0], from - reach), Math.min(WHOLE[1], to + reach)];
}

/** Place of a std on a track, from -1 to 1; beyond for one that is not on it. */
export function placeOf(std, width, track) {
  if (track) return (2 * (Math.log10(std) - track[0])) / (track[1] - track[0]) - 1;
  return Math.asinh(Math.log10(std / schemeStd("kaiming", width)) * Math.sinh(STRETCH)) / STRETCH;
}

/** The std at a place on a track. */
export function stdAt(place, width, track) {
  if (track) return 10 ** (track[0] + ((place + 1) / 2) * (track[1] - track[0]));
  return schemeStd("kaiming", width) * 10 ** (Math.sinh(STRETCH * place) / Math.sinh(STRETCH));
}

/** Whether a std is not on a track, its ends being rounded. */
const isBeyond = (std, width, track) => Math.abs(placeOf(std, width, track)) > 1.001;

/** As many digits as two places on the track need to differ. */
export const rounded = (std, digits = 5) => Number(std.toPrecision(digits));

/**
 * The control: {element, show(settings), band(kept, settings)}. `change` is called with the settings
 * that the reader makes, `format` gives the std as text.
 */
export function stdSlider(change, format) {
  let now = { std: 1, width: 1, scheme: "free" };
  let shown = "middle"; // or "whole", or "band"
  let kept = null;
  /** @returns {Track} */
  const track = () => ({ middle: null, whole: WHOLE, band: kept && zoomed(kept) })[shown];
  let held = false; // by a pointer, which falls into detents; keys go through them
  const good = make("span", { class: "ins-rail-good", hidden: true });
  const ticks = ["xavier", "kaiming"].map((scheme) => ({
    scheme,
    tick: make("span", { class: "ins-rail-tick" }),
    name: make("span", { class: "ins-rail-name" }),
  }));
  const sides = ["start", "end"].map((side) => make("span", { class: `ins-rail-${side}` }));
  const key = make("span", { class: "ins-rail-name ins-rail-key" }, "keeps both");
  const rail = make(
    "span", { class: "ins-rail", "aria-hidden": "true" }, good, ...ticks.map(({ tick }) => tick),
  );
  const names = make("span", { class: "ins-rail-names", "aria-hidden": "true" }, ...sides, ...ticks.map(({ name }) => name), key);
  const range = make("input", {
    type: "range", min: -1, max: 1, step: STEP,
    onpointerdown: () => { held = true; },
    onpointerup: () => { held = false; },
    onpointercancel: () => { held = false; },
    onkeydown: () => { held = false; },
    oninput: () => {
      const place = Number(range.value);
      const caught = held && ticks.find(({ scheme }) =>
        Math.abs(placeOf(schemeStd(scheme, now.width), now.width, track()) - place) * range.clientWidth < 2 * CATCH);
      if (!caught) return change({ std: rounded(stdAt(place, now.width, track()), shown === "band" ? 8 : 5) });
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
      if (isBeyond(now.std, now.width, null)) return; // it is not on the other track
      shown = shown === "whole" ? "middle" : "whole";
      place();
    },
  }, "Whole range");
  const zoom = make("button", {
    type: "button", class: "ins-small", "aria-pressed": "false", title: "Zoom in on the stds that keep both",
    onclick: () => {
      shown = shown === "band" ? "middle" : "band";
      const { std, width } = now;
      const at = placeOf(std, width, track());
      // What is not on the track goes to its nearer end.
      if (shown === "band" && Math.abs(at) > 1) change({ std: rounded(stdAt(Math.sign(at), width, track()), 8) });
      else place();
    },
  }, "Zoom");

  function place() {
    const { std, width } = now;
    const known = kept !== null && !Number.isNaN(kept.low);
    if (shown === "band" && (!known || isBeyond(std, width, track()))) shown = "middle";
    const outside = isBeyond(std, width, null);
    if (outside && shown !== "band") shown = "whole";
    range.value = String(placeOf(std, width, track()));
    range.setAttribute("aria-valuetext", format(std));
    field.value = String(rounded(std, shown === "band" ? 8 : 5));
    all.setAttribute("aria-pressed", String(shown === "whole"));
    all.setAttribute("aria-disabled", String(outside));
    zoom.setAttribute("aria-pressed", String(shown === "band"));
    zoom.classList.toggle("ins-unseen", !known);
    const percent = (at) => `${50 * (1 + Math.max(-1, Math.min(1, at)))}%`;
    for (const { scheme, tick, name } of ticks) {
      const at = placeOf(schemeStd(scheme, width), width, track());
      for (const mark of [tick, name]) {
        mark.style.left = percent(at);
        mark.classList.toggle("ins-unseen", Math.abs(at) > 1);
      }
      if (scheme === "xavier") name.textContent = shown === "whole" ? "" : "Xavier, LeCun";
      else name.textContent = shown === "whole" ? "Xavier, Kaiming" : "Kaiming";
    }
    const ends = { middle: ["÷10", "×10"], whole: STD_RANGE, band: [-1, 1].map((at) => rounded(stdAt(at, width, track()), 4)) };
    sides.forEach((side, k) => { side.textContent = String(ends[shown][k]); });
    const seen = known ? [kept.low, kept.high].map((one) => placeOf(one, width, track())) : null;
    const there = seen !== null && seen[1] > -1 && seen[0] < 1;
    good.hidden = !there;
    key.classList.toggle("ins-unseen", !there);
    key.style.left = shown === "band" ? "27%" : ""; // the number at the right end is long
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
  const element = make("div", { class: "ins-std" }, label, field, zoom, all);
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
