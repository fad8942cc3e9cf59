// How far a guess is from the truth, in numbers and in a sentence. No DOM.
//
// A question is {kind: "value" | "band" | "curve", log, low, high, thresholds: [close, near], unit}, with
// [low, high] the axis.
// On a log axis two numbers differ by a factor, on a linear one by a share of the axis. A band differs from
// another by the share of what either covers that both cover, on a log axis in decades.

import { percent, short } from "../lib/format.mjs";

/** Where `value` lies on the axis, 0 at its low end and 1 at its high end. */
export function toShare({ log, low, high }, value) {
  const along = log ? Math.log : Number;
  return (along(value) - along(low)) / (along(high) - along(low));
}

/** The value at a share of the axis, within the axis and with three or so digits, as people guess. */
export function fromShare({ log, low, high }, share) {
  const t = Math.min(1, Math.max(0, share));
  if (t === 0 || t === 1) return t ? high : low;
  const value = log ? Math.exp((1 - t) * Math.log(low) + t * Math.log(high)) : (1 - t) * low + t * high;
  const digit = 10 ** (Math.floor(Math.log10(log ? value : high - low)) - 2);
  return Math.min(high, Math.max(low, Number((Math.round(value / digit) * digit).toPrecision(12))));
}

/** Two numbers: {guess, truth, off, sign}; `off` is a factor of at least 1, or a share of the axis. */
export function apart({ log, low, high }, guess, truth) {
  const off = log ? Math.max(guess / truth, truth / guess) : Math.abs(guess - truth) / (high - low);
  return { guess, truth, off, sign: Math.sign(guess - truth) };
}

/**
 * How far `guess` is from `truth`: a list of one number each, or of the two edges of a band.
 *
 * {edges: [apart, ...], overlap, score}: `overlap` is null but for a band; `score` is "close", "near" or "far".
 */
export function difference(question, guess, truth) {
  const { kind, log, thresholds: [close, near] } = question;
  if (kind !== "band") {
    const edge = apart(question, guess[0], truth[0]);
    const score = edge.off <= close ? "close" : edge.off <= near ? "near" : "far";
    return { edges: [edge], overlap: null, score };
  }
  /** @type {any[]} */
  const [a, b] = [guess, truth].map((band) => [...band].sort((x, y) => x - y));
  const length = ([from, to]) => (log ? Math.log10(to) - Math.log10(from) : to - from);
  const both = Math.max(0, length([Math.max(a[0], b[0]), Math.min(a[1], b[1])]));
  const either = length(a) + length(b) - both;
  const overlap = either > 0 ? both / either : Number(a[0] === b[0]); // two bands of no width
  return {
    edges: [0, 1].map((k) => apart(question, a[k], b[k])),
    overlap,
    score: overlap >= close ? "close" : overlap >= near ? "near" : "far",
  };
}

/** A number with its unit. */
export function withUnit(value, unit = "") {
  return short(value) + (unit === "" || unit === "%" ? unit : ` ${unit}`);
}

function fault({ log, unit }, { guess, truth, off, sign }) {
  if (log ? off < 1.005 : off < 0.002) return "right";
  if (log) return `too ${sign < 0 ? "small" : "large"} by a factor of ${short(off, off < 1.1 ? 3 : 2)}`;
  const by = withUnit(Math.abs(guess - truth), unit === "%" ? "points" : unit);
  return `${by} too ${sign < 0 ? "low" : "high"}`;
}

function rule({ kind, log, thresholds: [close, near] }, score) {
  const bound = (value) => (kind === "band" ? `at least ${percent(value)} shared`
    : log ? `within a factor of ${short(value)}` : `within ${percent(value)} of the axis`);
  if (score === "close") return `That is close (${bound(close)}).`;
  return score === "near" ? `That is near (${bound(near)}; close would be ${bound(close)}).`
    : `That is far off (near would be ${bound(near)}).`;
}

/** The sentence of the reveal. */
export function sentence(question, guess, truth) {
  const { edges, overlap, score } = difference(question, guess, truth);
  const said = (key) => edges.map((edge) => withUnit(edge[key], question.unit)).join(" to ");
  const words = edges.map((edge) => fault(question, edge));
  const start = question.kind === "curve"
    ? `You said that it ends at ${said("guess")}, it ends at ${said("truth")}:`
    : `You said ${said("guess")}, it is ${said("truth")}:`;
  const middle = question.kind === "band"
    ? `the two share ${percent(overlap)} of the ${question.log ? "decades" : "stretch"} that either covers. `
      + `Your lower edge is ${words[0]}, your upper edge ${words[1]}.`
    : `${words[0]}.`;
  const right = words.every((word) => word === "right");
  return `${start} ${middle}${right ? "" : ` ${rule(question, score)}`}`;
}
