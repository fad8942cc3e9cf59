// Controls from a description: a labelled native input for each setting.
//
// A control is {label, kind, ...} with kind
//   "log", "linear"   a slider over numbers: min, max, and step (linear) or per decade (log)
//   "integer"         a slider over whole numbers: min, max
//   "steps"           a slider over the numbers of `options`
//   "choice"          one of `options`, a list of [value, text]
//   "switch"          on or off
// and optionally `format`, from the value to the text that is shown, and `hint`.

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
  const inside = Math.min(control.max, Math.max(control.min, Number.isNaN(number) ? control.min : number));
  return control.kind === "integer" ? Math.round(inside) : inside;
}

function toSlider(control, value) {
  if (control.kind === "log") return Math.log10(value);
  return control.kind === "steps" ? control.options.indexOf(clamp(control, value)) : value;
}

function fromSlider(control, position) {
  if (control.kind === "log") return Number((10 ** position).toPrecision(4));
  return control.kind === "steps" ? control.options[position] : position;
}

function sliderRange(control) {
  if (control.kind === "log") {
    return [Math.log10(control.min), Math.log10(control.max), 1 / (control.perDecade ?? 40)];
  }
  if (control.kind === "steps") return [0, control.options.length - 1, 1];
  return [control.min, control.max, control.kind === "integer" ? 1 : (control.step ?? "any")];
}

/**
 * The input of one control.
 *
 * Returns {element, show(value), enable(yes)}; `change(value)` is called as the reader moves it.
 */
export function input(control, value, change) {
  const format = control.format ?? ((v) => short(v));
  const label = make("span", { class: "ins-label" }, control.label);
  if (control.kind === "switch") {
    const box = make("input", { type: "checkbox", onchange: () => change(box.checked) });
    const element = make("label", { class: "ins-control ins-switch", title: control.hint }, box, label);
    return {
      element,
      show: (v) => { box.checked = v; },
      enable: (yes) => { box.disabled = !yes; },
    };
  }
  if (control.kind === "choice") {
    const select = make("select", {
      onchange: () => change(control.options[select.selectedIndex][0]),
    }, ...control.options.map(([v, text]) => make("option", { value: v }, text)));
    const element = make("label", { class: "ins-control", title: control.hint }, label, select);
    return {
      element,
      show: (v) => { select.selectedIndex = control.options.findIndex(([known]) => known === v); },
      enable: (yes) => { select.disabled = !yes; },
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
  show(value);
  const element = make(
    "label", { class: "ins-control", title: control.hint }, make("span", { class: "ins-row" }, label, shown), range,
  );
  return { element, show, enable: (yes) => { range.disabled = !yes; } };
}
