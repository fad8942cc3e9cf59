// The law of the logarithm, and what a sample says of it.

import { exactNoise } from "../lib/layer_noise.mjs";

/** Standard deviations on either side that hold 95% of a normal distribution. */
export const DEVIATION = 1.959963984540054;

/** Mean and variance after so many layers, over networks that are alive: theory.log_norm_moments. */
export function moments({ activation, width, depth }) {
  const [mean, variance] = exactNoise(activation, width) ?? [NaN, NaN];
  return { mean: depth * mean, variance: depth * variance };
}

/** The variance to first order in 1/n. */
export const firstOrder = ({ activation, width, depth }) => ((activation === "relu" ? 5 : 2) * depth) / width;

/** Mean and variance of a sample, and half of the 95% interval of each: analysis.log_moments. */
export function sampleMoments(values) {
  const n = values.length;
  if (n < 2) return { mean: n ? values[0] : NaN, meanError: NaN, variance: NaN, varianceError: NaN };
  const mean = values.reduce((a, b) => a + b, 0) / n;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const variance = squares / (n - 1);
  return {
    mean, variance,
    meanError: (DEVIATION * Math.sqrt(squares / n)) / Math.sqrt(n),
    varianceError: DEVIATION * variance * Math.sqrt(2 / (n - 1)),
  };
}

/** How many values are in each of `count` bins from `low` to `high`; what lies beyond is in the last ones. */
export function histogram(values, low, high, count) {
  const found = new Array(count).fill(0);
  for (const value of values) {
    const bin = Math.floor(((value - low) / (high - low)) * count);
    found[Math.max(0, Math.min(count - 1, bin))] += 1;
  }
  return found;
}
