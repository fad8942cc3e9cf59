// A chart in SVG: axes, linear or logarithmic, and layers drawn over each other.

import { make } from "./dom.mjs";
import { labelled, logTicks, ticks } from "./ticks.mjs";

/** Colors of categories, as in the figures of the book. */
export const COLORS = ["#3f83c9", "#d9772b", "#2f9e73", "#b065c0", "#cc4f5c", "#8a8f2a"];

const MARGIN = { left: 58, right: 12, top: 10, bottom: 40 };

/**
 * One layer of a drawing; which properties count is said at Chart.
 *
 * @typedef {{
 *   kind: string,
 *   x?: any, y?: any, low?: any, high?: any, at?: number,
 *   from?: number, to?: number, row?: number, edges?: any, heights?: any,
 *   xEdges?: number[], yEdges?: number[], colors?: (string | null)[][], color?: string, dash?: string,
 *   width?: number, opacity?: number, radius?: number, shape?: "cross", label?: string, text?: string,
 *   anchor?: string,
 * }} Layer
 * @typedef {{ x: any, y: any, layers: Layer[] }} Drawing
 */

/**
 * A chart that fills the width of `parent`.
 *
 * options: label (for screen readers; `describe(text)` changes it), xLabel, yLabel, xLog, yLog,
 * height in pixels, left and bottom (room for the labels of the axes), xFormat and yFormat (value => text, on
 * a linear axis), xWhole (only whole numbers are labelled, as of layers), xTicks and yTicks (what to
 * label instead of round numbers: numbers, or [number, text]). Changed options hold from the next draw.
 * Where labels of x would touch, only every second one is shown, or still fewer.
 *
 * draw({x: [low, high], y: [low, high], layers}) draws anew; each layer is one of
 *   {kind: "line", x, y, color, dash, width, opacity}   gaps where y is not finite (or not > 0 on a log axis)
 *   {kind: "points", x, y, color, radius, shape}         shape "cross", or a disc
 *   {kind: "band", x, low, high, color, opacity}
 *   {kind: "bars", edges, heights, color}
 *   {kind: "vline" | "hline", at, color, dash, label}    row: 1, 2, ... sets the label of a vline lower
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
    this.room = 0; // as the page last told it: to ask while drawing makes the browser lay out all anew
    this.observer = new ResizeObserver(([{ contentRect }]) => {
      const width = Math.round(contentRect.width);
      if (width === this.room) return;
      this.room = width;
      if (this.drawing) this.draw(this.drawing);
    });
    this.observer.observe(this.element);
  }

  describe(text) {
    this.svg.setAttribute("aria-label", text);
  }

  get left() {
    return this.options.left ?? MARGIN.left;
  }

  get bottom() {
    return this.options.bottom ?? MARGIN.bottom;
  }

  get width() {
    if (!this.room) this.room = this.element.clientWidth;
    return Math.max(220, this.room || 600);
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
      axis(x, xLog, this.left, this.width - MARGIN.right),
      axis(y, yLog, height - this.bottom, MARGIN.top),
    ];
  }

  /** The value under a pointer event, {x, y}, or null outside the axes. */
  at(event) {
    if (!this.drawing) return null;
    const box = this.svg.getBoundingClientRect();
    const { xLog, yLog, height } = this.options;
    const u = (event.clientX - box.left - this.left) / (this.width - this.left - MARGIN.right);
    const v = (height - this.bottom - (event.clientY - box.top)) / (height - this.bottom - MARGIN.top);
    if (u < 0 || u > 1 || v < 0 || v > 1) return null;
    const value = ([low, high], log, t) => (log ? low * (high / low) ** t : low + t * (high - low));
    return { x: value(this.drawing.x, xLog, u), y: value(this.drawing.y, yLog, v) };
  }

  /** @param {Drawing} drawing */
  draw(drawing) {
    this.drawing = drawing;
    const { height, xLabel, yLabel, xLog, yLog, xWhole, xTicks, yTicks, xFormat, yFormat } = this.options;
    const { width, left } = this;
    const [px, py] = this.scales(drawing);
    const bottom = height - this.bottom;
    const right = width - MARGIN.right;
    const parts = [];
    const text = (x, y, content, extra = {}) =>
      parts.push(make("svg:text", { x, y, ...extra }, content));

    const xs = xTicks ?? (xLog
      ? logTicks(...drawing.x, Math.floor(width / 70))
      : ticks(...drawing.x, Math.floor(width / 80)).filter((x) => !xWhole || Number.isInteger(x)));
    const ys = yTicks ?? (yLog ? logTicks(...drawing.y, height / 34) : ticks(...drawing.y, height / 45));
    const all = labelled(xs, xLog, xFormat).map(([x, content]) => {
      // A label that has no room beside its line ends with the chart, however wide its letters are.
      const tight = px(x) + 4 * content.length > width;
      return { x: px(x), content, tight, end: tight ? width - 1 : px(x) + 3.5 * content.length };
    });
    let shown = all; // every second one or less, where they would touch: a letter is about 7 pixels wide
    for (let k = 2; shown.some((one, i) => i && one.end - 7 * one.content.length - shown[i - 1].end < 8); k += 1) {
      shown = all.filter((_, i) => i % k === 0);
    }
    for (const { x, content, tight, end } of shown) {
      parts.push(make("svg:line", { class: "ins-grid", x1: x, x2: x, y1: MARGIN.top, y2: bottom }));
      text(tight ? end : x, bottom + 15, content, { "text-anchor": tight ? "end" : "middle" });
    }
    for (const [y, content] of labelled(ys, yLog, yFormat)) {
      parts.push(make("svg:line", { class: "ins-grid", x1: left, x2: right, y1: py(y), y2: py(y) }));
      text(left - 6, py(y) + 4, content, { "text-anchor": "end" });
    }
    if (xLabel) text((left + right) / 2, height - 6, xLabel, { "text-anchor": "middle" });
    if (yLabel) {
      const middle = (MARGIN.top + bottom) / 2;
      text(12, middle, yLabel, { "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` });
    }

    const clip = make("svg:svg", {
      x: left, y: MARGIN.top, width: Math.max(1, right - left), height: bottom - MARGIN.top,
      viewBox: `${left} ${MARGIN.top} ${Math.max(1, right - left)} ${bottom - MARGIN.top}`,
      overflow: "hidden",
    });
    for (const layer of drawing.layers) clip.append(...this.layer(layer, px, py, { left, bottom, right }));
    parts.push(clip);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", height);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(...parts);
  }

  /** @param {Layer} layer */
  layer(layer, px, py, { left, bottom, right }) {
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
          ? [mark(layer.shape, px(x), py(layer.y[i]), layer.radius ?? 2.6, color, layer.opacity)] : []));
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
            height: Math.abs(floor - y), fill: color, "fill-opacity": layer.opacity ?? 0.8, stroke: color, "stroke-width": 0.6,
          });
        });
      }
      case "vline":
        return [make("svg:line", { x1: px(layer.at), x2: px(layer.at), y1: MARGIN.top, y2: bottom, ...stroke }),
          ...this.besideLine(px(layer.at), right, layer)];
      case "hline":
        return [make("svg:line", { x1: left, x2: right, y1: py(layer.at), y2: py(layer.at), ...stroke }),
          ...beside(right - 4, py(layer.at) - 4, "end")];
      case "vspan": {
        const [a, b] = [px(layer.from), px(layer.to)];
        return [make("svg:rect", { x: Math.min(a, b), y: MARGIN.top, width: Math.abs(b - a), height: bottom - MARGIN.top, fill: color, opacity: layer.opacity ?? 0.16 }),
          ...beside(Math.min(a, b) + 4, MARGIN.top + 12)];
      }
      case "hspan": {
        const [a, b] = [py(layer.from), py(layer.to)];
        return [make("svg:rect", { x: left, y: Math.min(a, b), width: right - left, height: Math.abs(b - a), fill: color, opacity: layer.opacity ?? 0.16 }),
          ...beside(left + 4, Math.min(a, b) + 12)];
      }
      case "cells": {
        const { colors = [], xEdges = [], yEdges = [] } = layer;
        return colors.flatMap((row, j) => row.flatMap((fill, i) => {
          if (!fill) return [];
          const [a, b] = [px(xEdges[i]), px(xEdges[i + 1])];
          const [c, d] = [py(yEdges[j]), py(yEdges[j + 1])];
          return [make("svg:rect", { x: a, y: Math.min(c, d), width: b - a + 0.4, height: Math.abs(d - c) + 0.4, fill })];
        }));
      }
      case "label":
        return [make("svg:text", { x: px(layer.x), y: py(layer.y), "text-anchor": layer.anchor ?? "start", class: "ins-inside" }, layer.text)];
      default:
        throw new Error(`no layer of kind ${layer.kind}`);
    }
  }

  /**
   * The label of a vertical line: right of it, or left where there is no room on the right.
   *
   * @param {number} x
   * @param {number} right
   * @param {Layer} layer
   */
  besideLine(x, right, { label, row = 0 }) {
    if (!label) return [];
    const fits = x + 4 + 6.2 * label.length < right;
    const attributes = { x: fits ? x + 4 : x - 4, y: MARGIN.top + 12 + 14 * row, "text-anchor": fits ? "start" : "end" };
    return [make("svg:text", { ...attributes, class: "ins-inside" }, label)];
  }

  destroy() {
    this.observer.disconnect();
  }
}

/** A disc or a cross of radius `r`. */
function mark(shape, x, y, r, color, opacity) {
  if (shape !== "cross") return make("svg:circle", { cx: x, cy: y, r, fill: color, opacity });
  const d = `M${x - r},${y - r}l${2 * r},${2 * r}M${x - r},${y + r}l${2 * r},${-2 * r}`;
  return make("svg:path", { d, stroke: color, "stroke-width": 2, fill: "none", opacity });
}

/**
 * The legend: entries {text, color, dash, width, shape: "line" | "point" | "cross" | "area"}.
 *
 * So that it keeps its lines as a slider is dragged, an entry that does not hold now is `hidden` and
 * keeps its place, and one whose text changes has room for the `longest`.
 */
export function legend(entries) {
  return make("ul", { class: "ins-legend" }, ...entries.map(({ text, color, dash, width = 2, shape = "line", longest, hidden }) => {
    const sample = make("svg:svg", { width: 22, height: 10, "aria-hidden": "true" });
    if (shape === "point" || shape === "cross") sample.append(mark(shape, 11, 5, 3, color));
    else if (shape === "area") sample.append(make("svg:rect", { x: 1, y: 0, width: 20, height: 10, fill: color, opacity: 0.3 }));
    else sample.append(make("svg:line", { x1: 1, x2: 21, y1: 5, y2: 5, stroke: color, "stroke-width": width, "stroke-dasharray": dash ?? "none" }));
    const words = longest ? make("span", { class: "ins-sized", "data-longest": longest }, make("span", {}, text)) : text;
    return make("li", { class: hidden ? "ins-unseen" : null }, sample, words);
  }));
}
