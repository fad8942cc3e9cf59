// What happened to the signal, as a sentence.

import { short } from "../lib/format.mjs";
import { NUMBER_FORMATS } from "./network.mjs";
import { STD_RANGE } from "./theory.mjs";

/** 10^log as text, also where it is beyond the range of numbers. */
export function powerText(log) {
  if (log === -Infinity) return "nothing";
  if (Math.abs(log) > 290) return `1e${Math.round(log)}`;
  return short(10 ** log, 2);
}

function verdict(log) {
  if (Math.abs(log) <= 1) return "keeps its scale";
  if (log < 0) return log < -3 ? "vanishes" : "shrinks";
  return log > 3 ? "explodes" : "grows";
}

/** The first layer, in the order given, at which rms values leave a format's range; undefined if none. */
export function leaves(format, logs, layers) {
  const { smallest, largest } = NUMBER_FORMATS[format];
  return layers.find((l) => logs[l] / 2 < Math.log10(smallest) || logs[l] / 2 > Math.log10(largest));
}

/** A std that keeps both, with as few digits as it needs, as text; null if there is none. */
export function goodStd({ best, low, high }) {
  if (Number.isNaN(low)) return null;
  const wanted = low <= STD_RANGE[0] * 1.001 ? high * 0.99 : best;
  for (let digits = 3; digits < 12; digits += 1) {
    const text = short(wanted, digits);
    if (Number(text) >= low && Number(text) <= high) return text;
  }
  return String(wanted);
}

/**
 * The sentence for log10 variances by layer. `kept` is what `keeping` finds, or null while it is
 * not known.
 */
export function sentence({ depth, width, std }, forward, backward, kept) {
  const [signal, gradient] = [forward[depth], backward[1]];
  const parts = [];
  const first = verdict(signal);
  if (first === "keeps its scale") {
    parts.push(`The signal keeps its scale: at layer ${depth} its variance is ${powerText(signal)} times the input’s.`);
  } else if (signal < 0) {
    parts.push(`The signal ${first}: ${powerText(signal)} of its variance is left at layer ${depth}.`);
  } else {
    parts.push(`The signal ${first}: at layer ${depth} its variance is ${powerText(signal)} times the input’s.`);
  }
  const second = verdict(gradient);
  if (depth > 1) {
    const too = first === second ? " too" : "";
    parts.push(gradient < -1
      ? `The gradient ${second}${too}: ${powerText(gradient)} of its variance reaches layer 1.`
      : `The gradient ${second}${too}: at layer 1 its variance is ${powerText(gradient)} times the output’s.`);
  }
  const up = Array.from({ length: depth }, (_, k) => k + 1);
  const down = [...up].reverse();
  for (const [format, name] of [["float32", "Even float32 and bfloat16"], ["float16", "float16"]]) {
    const from = leaves(format, forward, up);
    const below = leaves(format, backward, down);
    if (from === undefined && below === undefined) continue;
    parts.push(from !== undefined
      ? `${name} cannot hold the signal from layer ${from} on.`
      : `${name} cannot hold the gradient from layer ${below} down.`);
    break;
  }
  if (kept) {
    const good = [first, second].every((word) => word === "keeps its scale");
    const any = kept.low <= STD_RANGE[0] * 1.001;
    if (Number.isNaN(kept.low)) {
      if (!good) parts.push(`No std keeps both within a factor of 10 at every layer; ${short(kept.best)} comes closest.`);
    } else if (good) {
      parts.push(any
        ? `Every std up to ${short(kept.high)} keeps both.`
        : `Every std from ${short(kept.low, 4)} to ${short(kept.high, 4)} keeps both.`);
    } else if (std >= kept.low && std <= kept.high) {
      parts.push(`In theory this std keeps both: at width ${width}, chance takes networks away from it.`);
    } else {
      parts.push(any ? `Every std up to ${short(kept.high)} would keep both.` : `A std of ${goodStd(kept)} would keep both.`);
    }
  }
  return parts.join(" ");
}

/** Mean of logs over networks, by layer: over those in which something is left, if in any. */
export function meanLogs(profiles) {
  return Array.from(profiles[0], (_, l) => {
    const finite = profiles.map((profile) => profile[l]).filter(Number.isFinite);
    return finite.length ? finite.reduce((sum, log) => sum + log / finite.length, 0) : -Infinity;
  });
}
