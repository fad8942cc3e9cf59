// A chart of sizes on an axis that stands still, with walls where a number format ends.

import { Chart } from "../lib/chart.mjs";
import { make } from "../lib/dom.mjs";

/**
 * As Chart, with these layers besides:
 *   {kind: "curve", x, y, color, dash, width, opacity, name}   a line to a thousandth of a pixel, of class `name`
 *   {kind: "end", x, y, text, detail, color}   a large sign where a curve ends, and small words beside it
 *   {kind: "beside", at, below, away, text}   words above a horizontal line, or below it, `away` pixels farther off
 *   {kind: "steps", edges, heights, color, opacity}   bars in one piece: a hundred times faster than one by one
 * and a crosshair, moved without drawing the chart anew: cross({x, ys}) or cross(null).
 *
 * `height()` of the options is asked at every drawing.
 */
export class StageChart extends Chart {
  constructor(parent, options) {
    super(parent, options);
    this.crosshair = make("svg:g", { class: "ins-cross", "aria-hidden": "true" });
    this.crossing = null;
  }

  draw(drawing) {
    this.options.height = this.options.heightNow();
    super.draw(drawing);
    this.svg.append(this.crosshair);
    this.cross(this.crossing);
  }

  /** Show the crosshair at x on the axis, with a mark on each of `ys`: {y, color}. */
  cross(crossing) {
    this.crossing = crossing;
    if (!crossing || !this.drawing) return this.crosshair.replaceChildren();
    const [px, py] = this.scales(this.drawing);
    const { y: [low, high] } = this.drawing;
    const x = px(crossing.x);
    return this.crosshair.replaceChildren(
      make("svg:line", { x1: x, x2: x, y1: py(high), y2: py(low), stroke: "currentColor", "stroke-width": 1 }),
      ...crossing.ys.filter(({ y }) => y >= low && y <= high).map(({ y, color }) =>
        make("svg:circle", { cx: x, cy: py(y), r: 4, fill: color, stroke: "var(--ins-ground)", "stroke-width": 1.5 })),
    );
  }

  /** The value on the x axis nearest to a pointer, inside the axis. */
  nearest({ clientX }) {
    const drawing = this.drawing ?? { x: [0, 1], y: [0, 1] };
    const [px] = this.scales(drawing);
    const [low, high] = drawing.x;
    const share = (clientX - this.svg.getBoundingClientRect().left - px(low)) / (px(high) - px(low));
    return low + Math.max(0, Math.min(1, share)) * (high - low);
  }

  layer(layer, px, py, frame) {
    const { color = "currentColor" } = layer;
    if (layer.kind === "curve") {
      let d = "";
      let pen = "M";
      for (let i = 0; i < layer.x.length; i += 1) {
        const y = layer.y[i];
        if (Number.isFinite(y)) {
          d += `${pen}${px(layer.x[i]).toFixed(2)},${Math.max(-1e4, Math.min(1e4, py(y))).toFixed(3)}`;
          pen = "L";
        } else pen = "M";
      }
      return [make("svg:path", {
        d, class: layer.name, fill: "none", stroke: color, "stroke-width": layer.width ?? 1.8,
        "stroke-dasharray": layer.dash, opacity: layer.opacity,
      })];
    }
    if (layer.kind === "end") {
      const [x, y] = [px(layer.x), py(layer.y)];
      // Its words stand on the side that the curve did not come from, if there is room.
      const room = 9 + 6.4 * layer.detail.length;
      const right = layer.side === "left" ? x + room < frame.right : x - room < frame.left;
      const inside = Math.max(frame.left + 9, Math.min(frame.right - 9, x));
      const line = Math.max(26, Math.min(frame.bottom - 2, y + 8)); // within the frame
      return [
        make("svg:text", { x: inside, y: line, "text-anchor": "middle", class: "ins-inside ins-end" }, layer.text),
        make("svg:text", {
          x: right ? inside + 12 : inside - 12, y: line - 3, "text-anchor": right ? "start" : "end", class: "ins-inside ins-end-words",
        }, layer.detail),
      ];
    }
    if (layer.kind === "beside") {
      const { away = 0 } = layer;
      const y = py(layer.at) + (layer.below ? 13 + away : -5 - away);
      return [make("svg:text", { x: frame.right - 4, y, "text-anchor": "end", class: "ins-inside" }, layer.text)];
    }
    if (layer.kind === "steps") {
      const floor = py(0).toFixed(1);
      let d = `M${px(layer.edges[0]).toFixed(1)},${floor}`;
      layer.heights.forEach((h, i) => { d += `V${py(h).toFixed(1)}H${px(layer.edges[i + 1]).toFixed(1)}`; });
      return [make("svg:path", {
        d: `${d}V${floor}`, fill: color, "fill-opacity": layer.opacity ?? 0.5, stroke: color, "stroke-width": 1,
      })];
    }
    return super.layer(layer, px, py, frame);
  }
}

/**
 * Make a chart one that can be read: with a pointer, a finger, or arrow keys.
 *
 * what     {label, count(), text(), at(event)}: the name of what is chosen, how many there are beyond 0,
 *          what is read there, and the number under a pointer.
 * choose   called with the number, or null for none.
 *
 * Returns {element, show(number)}.
 */
export function reader(chart, { label, count, text, at, start }, choose) {
  let now = null;
  const move = (to) => choose(Math.max(0, Math.min(count(), Math.round(to))));
  const keys = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
  const element = make("div", {
    class: "ins-reader", role: "slider", tabindex: 0, "aria-label": label, "aria-valuemin": 0,
    onkeydown: (event) => {
      if (event.key === "Escape") choose(null);
      else if (event.key === "Home") move(0);
      else if (event.key === "End") move(count());
      else if (keys[event.key]) move((now ?? start()) + keys[event.key]);
      else return;
      event.preventDefault();
    },
    onfocus: () => { if (now === null) move(start()); },
    onblur: () => choose(null),
    onpointermove: (event) => move(at(event)),
    onpointerdown: (event) => move(at(event)),
    onpointerleave: (event) => {
      if (event.pointerType === "mouse" && document.activeElement !== element) choose(null);
    },
  });
  chart.element.append(element);
  return {
    element,
    show(number) {
      now = number;
      element.setAttribute("aria-valuemax", String(count()));
      element.setAttribute("aria-valuenow", String(number ?? start()));
      element.setAttribute("aria-valuetext", text());
    },
  };
}
