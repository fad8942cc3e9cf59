// A chart in SVG: axes, linear or logarithmic, and layers drawn over each other.

import { make } from "./dom.mjs";
import { power, short } from "./format.mjs";

/** Colors of categories, as in the figures of the book. */
export const COLORS = ["#3f83c9", "#d9772b", "#2f9e73", "#b065c0", "#cc4f5c", "#8a8f2a"];

const MARGIN = { left: 58, right: 12, top: 10, bottom: 40 };

/** About `count` round numbers from `low` to `high`. */
export function ticks(low, high, count = 5) {
  const rough = (high - low) / Math.max(1, count);
  if (!(rough > 0)) return [low];
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * unit).find((s) => s >= rough);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) found.push(k * step);
  return found;
}

/** Exponents of the powers of ten to label between `low` and `high`. */
export function decades(low, high, count = 6) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const step = Math.max(1, Math.ceil((last - first + 1) / count));
  const found = [];
  for (let e = Math.ceil(first / step) * step; e <= last; e += step) found.push(e);
  return found;
}

/**
 * A chart that fills the width of `parent`.
 *
 * options: label (for screen readers; `describe(text)` changes it), xLabel, yLabel, xLog, yLog,
 * height in pixels, xTicks (numbers to label instead of round ones).
 *
 * draw({x: [low, high], y: [low, high], layers}) draws anew; each layer is one of
 *   {kind: "line", x, y, color, dash, width, opacity}   gaps where y is not finite (or not > 0 on a log axis)
 *   {kind: "points", x, y, color, radius}
 *   {kind: "band", x, low, high, color, opacity}
 *   {kind: "bars", edges, heights, color}
 *   {kind: "vline" | "hline", at, color, dash, label}
 *   {kind: "vspan" | "hspan", from, to, color, opacity, label}
 *   {kind: "cells", xEdges, yEdges, colors}              colors[row][column], null for none
 *   {kind: "label", x, y, text, color, anchor}
 * The legend of lines and the like is not drawn here: see legend().
 */
export class Chart {
  constructor(parent, options) {
    this.options = { height: 230, ...options };
    this.svg = make("svg:svg", { role: "img", "aria-label": options.label, class: "ins-chart", height: this.options.height });
    this.element = make("div", { class: "ins-chart-box" }, this.svg);
    parent.append(this.element);
    this.drawing = null;
    this.observer = new ResizeObserver(() => this.drawing && this.draw(this.drawing));
    this.observer.observe(this.element);
  }

  describe(text) {
    this.svg.setAttribute("aria-label", text);
  }

  get width() {
    return Math.max(220, this.element.clientWidth || 600);
  }

  /** Positions in pixels of values on the axes of the last drawing; values beyond are clipped. */
  scales({ x, y }) {
    const { xLog, yLog, height } = this.options;
    const axis = (range, log, from, to) => {
      const [low, high] = log ? range.map(Math.log10) : range;
      const span = high - low || 1;
      return (value) => from + (((log ? Math.log10(value) : value) - low) / span) * (to - from);
    };
    return [
      axis(x, xLog, MARGIN.left, this.width - MARGIN.right),
      axis(y, yLog, height - MARGIN.bottom, MARGIN.top),
    ];
  }

  /** The value under a pointer event, {x, y}, or null outside the axes. */
  at(event) {
    if (!this.drawing) return null;
    const box = this.svg.getBoundingClientRect();
    const { xLog, yLog, height } = this.options;
    const u = (event.clientX - box.left - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    const v = (height - MARGIN.bottom - (event.clientY - box.top)) / (height - MARGIN.bottom - MARGIN.top);
    if (u < 0 || u > 1 || v < 0 || v > 1) return null;
    const value = ([low, high], log, t) => (log ? low * (high / low) ** t : low + t * (high - low));
    return { x: value(this.drawing.x, xLog, u), y: value(this.drawing.y, yLog, v) };
  }

  draw(drawing) {
    this.drawing = drawing;
    const { height, xLabel, yLabel, xLog, yLog, xTicks } = this.options;
    const { width } = this;
    const [px, py] = this.scales(drawing);
    const bottom = height - MARGIN.bottom;
    const right = width - MARGIN.right;
    const parts = [];
    const text = (x, y, content, extra = {}) =>
      parts.push(make("svg:text", { x, y, ...extra }, content));

    const xs = xTicks ?? (xLog
      ? decades(...drawing.x, Math.floor(width / 70)).map((e) => 10 ** e)
      : ticks(...drawing.x, Math.floor(width / 80)));
    const ys = yLog ? decades(...drawing.y, height / 34).map((e) => 10 ** e) : ticks(...drawing.y, height / 45);
    const label = (value, log) => (log && Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6)
      ? power(Math.round(Math.log10(value))) : short(value, 4));
    for (const x of xs) {
      parts.push(make("svg:line", { class: "ins-grid", x1: px(x), x2: px(x), y1: MARGIN.top, y2: bottom }));
      text(px(x), bottom + 15, label(x, xLog), { "text-anchor": "middle" });
    }
    for (const y of ys) {
      parts.push(make("svg:line", { class: "ins-grid", x1: MARGIN.left, x2: right, y1: py(y), y2: py(y) }));
      text(MARGIN.left - 6, py(y) + 4, label(y, yLog), { "text-anchor": "end" });
    }
    if (xLabel) text((MARGIN.left + right) / 2, height - 6, xLabel, { "text-anchor": "middle" });
    if (yLabel) {
      const middle = (MARGIN.top + bottom) / 2;
      text(12, middle, yLabel, { "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` });
    }

    const clip = make("svg:svg", {
      x: MARGIN.left, y: MARGIN.top, width: Math.max(1, right - MARGIN.left), height: bottom - MARGIN.top,
      viewBox: `${MARGIN.left} ${MARGIN.top} ${Math.max(1, right - MARGIN.left)} ${bottom - MARGIN.top}`,
      overflow: "hidden",
    });
    for (const layer of drawing.layers) clip.append(...this.layer(layer, px, py, { bottom, right }));
    parts.push(clip);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(...parts);
  }

  layer(layer, px, py, { bottom, right }) {
    const { xLog, yLog } = this.options;
    const color = layer.color ?? "currentColor";
    const usable = (x, y) => Number.isFinite(x) && Number.isFinite(y) && !(xLog && x <= 0) && !(yLog && y <= 0);
    // Far outside is as good as the edge, and keeps coordinates printable.
    const point = (x, y) => `${px(x).toFixed(1)},${Math.max(-1e4, Math.min(1e4, py(y))).toFixed(1)}`;
    const path = (x, y) => {
      let d = "";
      let pen = "M";
      for (let i = 0; i < x.length; i += 1) {
        if (usable(x[i], y[i])) { d += pen + point(x[i], y[i]); pen = "L"; } else pen = "M";
      }
      return d;
    };
    const stroke = {
      fill: "none", stroke: color, "stroke-width": layer.width ?? 1.8,
      "stroke-dasharray": layer.dash, opacity: layer.opacity,
    };
    const beside = (x, y, anchor = "start") => (layer.label
      ? [make("svg:text", { x, y, "text-anchor": anchor, class: "ins-inside" }, layer.label)] : []);
    switch (layer.kind) {
      case "line":
        return [make("svg:path", { d: path(layer.x, layer.y), ...stroke })];
      case "points":
        return [...layer.x].flatMap((x, i) => (usable(x, layer.y[i])
          ? [make("svg:circle", { cx: px(x), cy: py(layer.y[i]), r: layer.radius ?? 2.6, fill: color, opacity: layer.opacity })] : []));
      case "band": {
        const keep = [...layer.x.keys()].filter((i) => usable(layer.x[i], layer.low[i]) && usable(layer.x[i], layer.high[i]));
        const up = keep.map((i) => point(layer.x[i], layer.high[i]));
        const down = keep.reverse().map((i) => point(layer.x[i], layer.low[i]));
        return keep.length ? [make("svg:polygon", { points: [...up, ...down].join(" "), fill: color, opacity: layer.opacity ?? 0.18 })] : [];
      }
      case "bars": {
        const floor = yLog ? bottom : py(0);
        return [...layer.heights].map((h, i) => {
          const x = px(layer.edges[i]);
          const y = yLog && h <= 0 ? floor : py(h);
          return make("svg:rect", {
            x, y: Math.min(y, floor), width: Math.max(0.5, px(layer.edges[i + 1]) - x - 0.5),
            height: Math.abs(floor - y), fill: color, opacity: layer.opacity ?? 0.8,
          });
        });
      }
      case "vline":
        return [make("svg:line", { x1: px(layer.at), x2: px(layer.at), y1: MARGIN.top, y2: bottom, ...stroke }),
          ...beside(px(layer.at) + 4, MARGIN.top + 12)];
      case "hline":
        return [make("svg:line", { x1: MARGIN.left, x2: right, y1: py(layer.at), y2: py(layer.at), ...stroke }),
          ...beside(right - 4, py(layer.at) - 4, "end")];
      case "vspan": {
        const [a, b] = [px(layer.from), px(layer.to)];
        return [make("svg:rect", { x: Math.min(a, b), y: MARGIN.top, width: Math.abs(b - a), height: bottom - MARGIN.top, fill: color, opacity: layer.opacity ?? 0.16 }),
          ...beside(Math.min(a, b) + 4, MARGIN.top + 12)];
      }
      case "hspan": {
        const [a, b] = [py(layer.from), py(layer.to)];
        return [make("svg:rect", { x: MARGIN.left, y: Math.min(a, b), width: right - MARGIN.left, height: Math.abs(b - a), fill: color, opacity: layer.opacity ?? 0.16 }),
          ...beside(MARGIN.left + 4, Math.min(a, b) + 12)];
      }
      case "cells":
        return layer.colors.flatMap((row, j) => row.flatMap((fill, i) => {
          if (!fill) return [];
          const [a, b] = [px(layer.xEdges[i]), px(layer.xEdges[i + 1])];
          const [c, d] = [py(layer.yEdges[j]), py(layer.yEdges[j + 1])];
          return [make("svg:rect", { x: a, y: Math.min(c, d), width: b - a + 0.4, height: Math.abs(d - c) + 0.4, fill })];
        }));
      case "label":
        return [make("svg:text", { x: px(layer.x), y: py(layer.y), "text-anchor": layer.anchor ?? "start", class: "ins-inside" }, layer.text)];
      default:
        throw new Error(`no layer of kind ${layer.kind}`);
    }
  }

  destroy() {
    this.observer.disconnect();
  }
}

/** The legend: entries {text, color, dash, shape: "line" | "point" | "area"}. */
export function legend(entries) {
  return make("ul", { class: "ins-legend" }, ...entries.map(({ text, color, dash, shape = "line" }) => {
    const sample = make("svg:svg", { width: 22, height: 10, "aria-hidden": "true" });
    if (shape === "point") sample.append(make("svg:circle", { cx: 11, cy: 5, r: 3, fill: color }));
    else if (shape === "area") sample.append(make("svg:rect", { x: 1, y: 0, width: 20, height: 10, fill: color, opacity: 0.3 }));
    else sample.append(make("svg:line", { x1: 1, x2: 21, y1: 5, y2: 5, stroke: color, "stroke-width": 2, "stroke-dasharray": dash ?? "none" }));
    return make("li", {}, sample, text);
  }));
}
