// Where an axis is labelled, and how.

import { power, short } from "./format.mjs";

/** About `count` round numbers from `low` to `high`, and never a single one. */
export function ticks(low, high, count = 5) {
  const rough = (high - low) / Math.max(1, count);
  if (!(rough > 0)) return [low];
  const unit = 10 ** Math.floor(Math.log10(rough));
  const steps = [1, 2, 5, 10].map((m) => m * unit);
  const fitting = steps.findIndex((s) => s >= rough);
  for (let size = fitting < 0 ? steps.length - 1 : fitting; ; size -= 1) {
    const step = steps[size];
    const found = [];
    // Adding 0 makes 0 of -0.
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) found.push(k * step + 0);
    if (found.length > 1 || size === 0) return found;
  }
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

/** Values to label on a logarithmic axis: powers of ten, with 2 and 5 between where these are few. */
export function logTicks(low, high, count = 6) {
  const powers = decades(low, high, count);
  if (Math.log10(high / low) > 2) return powers.map((e) => 10 ** e);
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e += 1) {
    for (const m of [1, 2, 5]) {
      const value = Number(`${m}e${e}`);
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) found.push(value);
    }
  }
  return found;
}

/** Ticks with their texts, written alike along an axis: 0.5, 1 and 2, or powers of ten alone. */
export function labelled(values, log, format) {
  const exponents = values.map((value) => (log ? Math.log10(value) : NaN));
  const powers = exponents.every((e, k) => Array.isArray(values[k]) || Math.abs(e - Math.round(e)) < 1e-6);
  return values.map((value, k) => {
    if (Array.isArray(value)) return value;
    if (powers) return [value, power(Math.round(exponents[k]))];
    return [value, log || !format ? short(value, 4) : format(value)];
  });
}
