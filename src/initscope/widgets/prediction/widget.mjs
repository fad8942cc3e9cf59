// A question whose answer the reader predicts first: a value, a band, or where a curve ends.

import { make } from "../lib/dom.mjs";
import { power } from "../lib/format.mjs";
import { frame } from "../lib/frame.mjs";
import { decades, ticks } from "../lib/ticks.mjs";
import { difference, fromShare, sentence, toShare, withUnit } from "./message.mjs";

const GUESS = "#d9772b";
const TRUTH = "#3f83c9";
const PROMPT = "Set what you expect, with the keyboard or the pointer, then reveal the answer. "
  + "Nothing is sent.";
const UNTOUCHED = "Set what you expect first, with the keyboard or the pointer: then the answer can be revealed.";
const READ = ["question", "kind", "low", "high", "unit", "label", "truth", "explanation", "code", "thresholds",
  "x", "y", "shown", "x_label", "x_log"];

/**
 * Where an axis is labelled, as [share of the axis, text].
 *
 * @returns {[number, string][]}
 */
function labels(axis, count) {
  const ends = [axis.low, axis.high];
  const powers = axis.log ? decades(...ends, count) : [];
  if (powers.length > 1) return powers.map((e) => [toShare(axis, 10 ** e), power(e)]);
  const values = axis.log ? ends : ticks(...ends, count);
  return values.map((value) => [toShare(axis, value), withUnit(value, axis.unit === "%" ? "%" : "")]);
}

function render(context) {
  const { model } = context;
  /** @type {any} */
  const q = Object.fromEntries(READ.map((name) => [name, model.get(name)]));
  q.log = model.get("logarithmic");
  const band = q.kind === "band";
  const curve = q.kind === "curve";
  const names = band ? ["guess", "guess_high"] : ["guess"];
  const start = Object.fromEntries(names.map((name) => [name, model.get(name)]));
  // Who has not changed the guess has made none. In a kernel the author may reveal it all the same.
  let touched = model.get("revealed");
  let asked = false; // by the button: then the page is told

  const slider = (label) => ({
    label, kind: q.log ? "log" : "linear", min: q.low, max: q.high, step: (q.high - q.low) / 200,
    format: (v) => withUnit(v, q.unit),
  });
  const f = frame(context, {
    title: q.question,
    controls: {
      guess: slider(band ? "your band, from" : curve ? "where it ends" : "your guess"),
      ...(band ? { guess_high: slider("to") } : {}),
      revealed: { label: "revealed", kind: "switch", hidden: true },
    },
    update,
    python: q.code ? () => q.code : undefined,
    reset: false,
  });

  const changedFromStart = () => names.some((name) => f.settings()[name] !== start[name]);
  if (f.settings().revealed && !touched && !changedFromStart()) f.set({ revealed: false }); // by the address

  // It can be reached while it may not be pressed, so that whoever comes to it is told why.
  const button = make("button", { type: "button", onclick: () => {
    if (f.settings().revealed) {
      touched = false;
      f.set({ ...start, revealed: false });
    } else if (touched) {
      asked = true;
      f.set({ revealed: true });
    } else f.say(UNTOUCHED);
  } }, "Reveal the answer");
  f.panel.append(make("div", { class: "ins-buttons" }, button));
  const svg = make("svg:svg", { class: "ins-chart", role: "img" });
  const box = make("div", { class: "ins-chart-box ins-wide" }, svg);
  const explanation = make("p", { hidden: true });
  f.view.append(box);
  f.buttons.before(explanation);

  // The picture, drawn in pixels: a line for a value or a band, a chart for a curve.
  const height = curve ? 264 : 112;
  const left = curve ? 56 : 16;
  const bottom = height - 40;
  const top = curve ? 26 : 0;
  let right = 0;
  const yLabel = q.label + (q.unit === "" || q.unit === "%" ? "" : `, ${q.unit}`);
  const xAxis = curve ? { low: q.x[0], high: q.x.at(-1), log: q.x_log } : q;
  const px = (x) => left + toShare(xAxis, x) * (right - left);
  const py = (y) => bottom - toShare(q, y) * (bottom - top);
  const line = (x1, y1, x2, y2, color, dash, width = 1.8) => make("svg:line", {
    x1, y1, x2, y2, stroke: color, "stroke-width": width, "stroke-dasharray": dash,
  });
  const grid = (x1, y1, x2, y2) => make("svg:line", { class: "ins-grid", x1, y1, x2, y2 });
  const dot = (cx, cy, fill) => make("svg:circle", { cx, cy, r: 5, fill });
  /** Text at x that stays within the picture. */
  const text = (x, y, content, inside = true, anchor = "") => make("svg:text", {
    x, y, class: inside && "ins-inside",
    "text-anchor": anchor || (x < left + 90 ? "start" : x > right - 90 ? "end" : "middle"),
  }, content);
  const path = (from, to, color) => make("svg:path", {
    d: `M${q.x.slice(from, to).map((x, i) => `${px(x).toFixed(1)},${py(q.y[from + i]).toFixed(1)}`).join("L")}`,
    fill: "none", stroke: color, "stroke-width": 2,
  });
  const told = (values) => values.map((v) => withUnit(v, q.unit)).join(" to ");

  function drawLine(guess, revealed) {
    const parts = [];
    const titles = []; // over all lines
    const mark = (values, y, color, name) => {
      const at = values.map(px);
      titles.push(text((at[0] + at.at(-1)) / 2, y - 8, `${name}: ${told(values)}`));
      for (const x of at) parts.push(line(x, y, x, bottom, color, "2 3"), dot(x, y, color));
      if (band) parts.push(line(at[0], y, at[1], y, color, null, 6));
    };
    mark(guess, 22, GUESS, band ? "your band" : "your guess");
    if (revealed) mark(q.truth, 54, TRUTH, "answer");
    return [line(left, bottom, right, bottom, "currentColor", null, 1), ...parts, ...titles];
  }

  /**
   * @param {number[]} guesses of which a curve has one
   * @param {boolean} revealed
   */
  function drawCurve([guess], revealed) {
    const last = q.shown - 1;
    const [y, yGuess] = [py(q.truth[0]), py(guess)];
    // The answer's label keeps off the curve that leads to it, and the two labels off each other.
    const falls = py(q.y[Math.floor(0.8 * q.y.length)]) < y - 2;
    const below = y < bottom - 24 && (falls || y < top + 18 || Math.abs(y - yGuess) < 14);
    const under = revealed && below && yGuess >= y && yGuess < Math.min(y + 44, bottom - 24);
    const guessBelow = under || yGuess < top + 18;
    const name = (at, lower, content) => text(right - 10, at + (lower ? 20 : -10), content, true, "end");
    const parts = [
      // Here a finger moves the end, elsewhere it scrolls the page.
      make("svg:rect", { x: right - 48, y: top, width: 60, height: bottom - top, fill: GUESS, opacity: 0.1,
        style: `touch-action: none; cursor: ${revealed ? "auto" : "ns-resize"}` }),
      path(0, q.shown, TRUTH),
      line(px(q.x[last]), py(q.y[last]), right, yGuess, GUESS, "5 4"),
      dot(right, yGuess, GUESS),
    ];
    if (revealed) {
      parts.push(path(last, q.x.length, TRUTH), dot(right, y, TRUTH), name(y, below, `answer: ${told(q.truth)}`));
    }
    return [...parts, name(yGuess, guessBelow, `your guess: ${told([guess])}`)];
  }

  function guessNow(s) {
    return band ? [s.guess, s.guess_high].sort((a, b) => a - b) : [s.guess];
  }

  function draw() {
    const s = f.settings();
    const guess = guessNow(s);
    const width = Math.max(220, box.clientWidth || 600);
    right = width - 16;
    const parts = [];
    for (const [share, label] of labels(xAxis, width / 80)) {
      const x = left + share * (right - left);
      // Under its line, but for one at an end of the picture.
      const anchor = x < 24 ? "start" : x > width - 24 ? "end" : "middle";
      parts.push(grid(x, top, x, bottom), text(x, bottom + 16, label, false, anchor));
    }
    parts.push(text((left + right) / 2, height - 6, curve ? q.x_label : yLabel, false, "middle"));
    if (curve) {
      for (const [share, label] of labels(q, 5)) {
        const y = bottom - share * (bottom - top);
        parts.push(grid(left, y, right, y), text(left - 6, y + 4, label, false, "end"));
      }
      parts.push(text(2, 12, yLabel, false, "start"));
    }
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    svg.style.cssText = curve || s.revealed ? "" : "touch-action: pan-y; cursor: ew-resize";
    svg.replaceChildren(...parts, ...(curve ? drawCurve : drawLine)(guess, s.revealed));
    const seen = curve ? "A curve of which the beginning is given" : `An axis from ${told([q.low, q.high])}`;
    const answer = s.revealed ? ` and the answer at ${told(q.truth)}` : "";
    svg.setAttribute("aria-label", `${seen}, with your guess at ${told(guess)}${answer}.`);
  }

  function update(s, changed) {
    if (band && !s.revealed && s.guess > s.guess_high) {
      // One edge takes the other along; two set at once were only mixed up.
      f.set({
        guess: changed.has("guess_high") ? s.guess_high : s.guess,
        guess_high: changed.has("guess") ? s.guess : s.guess_high,
      });
    }
    touched ||= changedFromStart();
    button.textContent = s.revealed ? "Try again" : "Reveal the answer";
    const refused = !s.revealed && !touched;
    button.setAttribute("aria-disabled", String(refused));
    button.setAttribute("aria-description", refused ? "Set your guess first." : "");
    button.title = refused ? "Set your guess first." : "";
    for (const name of names) f.enable(name, !s.revealed);
    explanation.textContent = s.revealed ? q.explanation : "";
    explanation.hidden = explanation.textContent === "";
    f.say(s.revealed ? sentence(q, guessNow(s), q.truth) : PROMPT);
    draw();
    if (s.revealed && asked) {
      asked = false;
      // For the page, which unfolds what waits for the guess, and keeps the score.
      const { score } = difference(q, guessNow(s), q.truth);
      const detail = { guess: guessNow(s), score };
      context.el.dispatchEvent(new CustomEvent("guess-made", { bubbles: true, detail }));
    }
  }

  // The marks follow the pointer. The listeners are the picture's own: what is in it is drawn anew.
  let moved = null;
  function follow(event) {
    const frameBox = svg.getBoundingClientRect();
    const share = curve ? (bottom - (event.clientY - frameBox.top)) / (bottom - top)
      : (event.clientX - frameBox.left - left) / (right - left);
    const s = f.settings();
    const distance = (name) => Math.abs(toShare(q, s[name]) - share);
    moved ??= band && distance("guess_high") < distance("guess") ? "guess_high" : "guess";
    f.set({ [moved]: fromShare(q, share) });
  }
  svg.addEventListener("pointerdown", (event) => {
    const x = event.clientX - svg.getBoundingClientRect().left;
    if (f.settings().revealed || event.button !== 0 || (curve && x < right - 48)) return;
    svg.setPointerCapture(event.pointerId);
    moved = null;
    follow(event);
  });
  svg.addEventListener("pointermove", (event) => {
    if (moved && svg.hasPointerCapture(event.pointerId)) follow(event);
  });
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { moved = null; });

  const observer = new ResizeObserver(draw);
  observer.observe(box);
  return () => {
    observer.disconnect();
    f.destroy();
  };
}

export default { render };
