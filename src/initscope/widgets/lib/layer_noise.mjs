// What one layer of finite width adds to the logarithm of a squared norm.

import { digamma, trigamma } from "./gaussian.mjs";

/** Mean and variance of ln(2/n sum relu(g_i)^2) over n units, given that one of them is above 0. */
function reluNoise(width) {
  let logChoose = 0; // of the number of units above 0
  let [total, mean, square] = [0, 0, 0];
  let within = 0;
  for (let k = 1; k <= width; k += 1) {
    logChoose += Math.log((width - k + 1) / k);
    const weight = Math.exp(logChoose - width * Math.LN2);
    const value = digamma(k / 2) + Math.log(4 / width);
    total += weight;
    mean += weight * value;
    square += weight * value * value;
    within += weight * trigamma(k / 2);
  }
  mean /= total;
  return [mean, within / total + square / total - mean * mean];
}

/** Mean and variance of the log of the average of phi^2 over that of infinite width; undefined if not known exactly. */
export function exactNoise(activation, width) {
  if (activation === "relu") return reluNoise(width);
  return activation === "linear" ? [digamma(width / 2) + Math.log(2 / width), trigamma(width / 2)] : undefined;
}
