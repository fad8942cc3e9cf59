// Controls from a description: a labelled native input for each setting.
//
// A control is {label, kind, ...} with kind
//   "log", "linear"   a slider over numbers: min, max, and step (linear) or per decade (log)
//   "integer"         a slider over whole numbers: min, max
//   "steps"           a slider over the numbers of `options`
//   "choice"          one of `options`, a list of [value, text]; with `slider: true` a slider over them
//   "switch"          on or off
// and optionally `format`, from the value to the text that is shown, and `hint`. A "log" slider takes
// whole numbers only with `whole`, and has a place for 0 at its left end with `zero`. Controls with the
// same `group` are folded away together under that name.

import { make } from "./dom.mjs";
import { short } from "./format.mjs";

/** The value that `text` stands for, inside the control's range; undefined if there is none. */
export function parse(control, text) {
  const given = String(text).trim();
  if (control.kind === "choice") {
    const found = control.options.find(([value]) => String(value) === given);
    return found ? found[0] : undefined;
  }
  if (control.kind === "switch") {
    return { true: true, 1: true, on: true, false: false, 0: false, off: false }[given.toLowerCase()];
  }
  const value = Number(given);
  return given === "" || !Number.isFinite(value) ? undefined : clamp(control, value);
}

/** The nearest value that the control can have. */
export function clamp(control, value) {
  if (control.kind === "choice") {
    return control.options.some(([known]) => known === value) ? value : control.options[0][0];
  }
  if (control.kind === "switch") return Boolean(value);
  const number = Number(value);
  if (control.kind === "steps") {
    const distance = (option) => Math.abs(Math.log((option + 1e-12) / (number + 1e-12)));
    return control.options.reduce((best, option) => (distance(option) < distance(best) ? option : best));
  }
  if (control.zero && number <= 0) return 0;
  const inside = Math.min(control.max, Math.max(control.min, Number.isNaN(number) ? control.min : number));
  return control.kind === "integer" || control.whole ? Math.round(inside) : inside;
}

const formatOf = (control) => control.format ?? ((v) => (control.kind === "choice"
  ? control.options.find(([known]) => known === v)?.[1] ?? "" : short(v)));

/** A setting in words: "depth (layers) 50", "LayerNorm on". */
export function told(control, value) {
  return `${control.label} ${control.kind === "switch" ? (value ? "on" : "off") : formatOf(control)(value)}`;
}

function toSlider(control, value) {
  if (control.kind === "log") return value > 0 ? Math.log10(value) : sliderRange(control)[0];
  if (control.kind === "choice") return control.options.findIndex(([known]) => known === value);
  return control.kind === "steps" ? control.options.indexOf(clamp(control, value)) : value;
}

function fromSlider(control, position) {
  if (control.kind === "log") {
    const [lowest, , step] = sliderRange(control);
    return control.zero && position < lowest + step / 2 ? 0 : Number((10 ** position).toPrecision(4));
  }
  if (control.kind === "choice") return control.options[position][0];
  return control.kind === "steps" ? control.options[position] : position;
}

function sliderRange(control) {
  if (control.kind === "log") {
    const step = 1 / (control.perDecade ?? 40);
    return [Math.log10(control.min) - (control.zero ? step : 0), Math.log10(control.max), step];
  }
  if (control.kind === "steps" || control.kind === "choice") return [0, control.options.length - 1, 1];
  return [control.min, control.max, control.kind === "integer" ? 1 : (control.step ?? "any")];
}

/** Letters of the longest text that a slider shows beside its name. */
function longestText(control, format) {
  const [from, to, step] = sliderRange(control);
  const size = step === "any" ? (to - from) / 200 : step;
  const count = Math.round((to - from) / size);
  const stride = Math.max(1, Math.ceil(count / 200)); // two hundred of them tell
  const positions = [to];
  for (let k = 0; k < count; k += stride) positions.push(from + k * size);
  return Math.max(...positions.map((at) => String(format(clamp(control, fromSlider(control, at)))).length));
}

/**
 * The input of one control.
 *
 * Returns {element, show(value), enable(yes)}, and for a slider note(text), which says something below
 * it; `change(value)` is called as the reader moves it, and `offer()` follows a change of the control's
 * `options` and `label`.
 */
export function input(control, value, change) {
  const format = formatOf(control);
  const label = make("span", { class: "ins-label" }, control.label);
  if (control.kind === "switch") {
    const box = make("input", { type: "checkbox", onchange: () => change(box.checked) });
    const element = make("label", { class: "ins-control ins-switch", title: control.hint }, box, label);
    return {
      element,
      show: (v) => { box.checked = v; },
      enable: (yes) => { box.disabled = !yes; },
      offer: () => { label.textContent = control.label; },
    };
  }
  if (control.kind === "choice" && !control.slider) {
    const select = make("select", { onchange: () => change(control.options[select.selectedIndex][0]) });
    const offer = () => {
      label.textContent = control.label;
      select.replaceChildren(...control.options.map(([v, text]) => make("option", { value: v }, text)));
    };
    offer();
    const element = make("label", { class: "ins-control", title: control.hint }, label, select);
    return {
      element,
      show: (v) => { select.selectedIndex = control.options.findIndex(([known]) => known === v); },
      enable: (yes) => { select.disabled = !yes; },
      offer,
    };
  }
  const [min, max, step] = sliderRange(control);
  // Seen only: the slider itself says its value, and its name should not change with it.
  const shown = make("span", { class: "ins-value", "aria-hidden": "true" });
  const range = make("input", {
    type: "range", min, max, step,
    oninput: () => {
      const chosen = clamp(control, fromSlider(control, Number(range.value)));
      show(chosen, false);
      change(chosen);
    },
  });
  function show(v, move = true) {
    if (move) range.value = toSlider(control, v);
    shown.textContent = format(v);
    range.setAttribute("aria-valuetext", format(v));
  }
  // A value that gets longer would push its name onto two lines, and all that is below down.
  const keepWidth = () => { shown.style.minWidth = `${longestText(control, format)}ch`; };
  show(value);
  keepWidth();
  const beside = make("span", { class: "ins-hint", "aria-hidden": "true", hidden: true });
  const element = make(
    "label", { class: "ins-control", title: control.hint }, make("span", { class: "ins-row" }, label, shown), range, beside,
  );
  return {
    element,
    show,
    enable: (yes) => { range.disabled = !yes; },
    note(text) {
      beside.textContent = text;
      beside.hidden = !text;
      range.setAttribute("aria-description", text);
    },
    offer() {
      label.textContent = control.label;
      ["min", "max", "step"].forEach((name, i) => range.setAttribute(name, sliderRange(control)[i]));
      keepWidth();
    },
  };
}
