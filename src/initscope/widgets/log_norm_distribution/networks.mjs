// Random networks one by one: what is left of a signal in each, layer by layer.

import { Generator, fillNormal } from "../lib/torch_random.mjs";

/** Layers of every network drawn, so that another depth needs no other network. */
export const LAYERS = 50;

let weights = new Float32Array(0);

/**
 * The logarithm of the mean square of the signal at layers 0 to LAYERS, over that of the input: of network
 * `number` of a seed, whose weights are `torch.randn(LAYERS, width, width)` with the generator's seed
 * 1000 seed + number, scaled to keep the mean square on average. -Infinity from the layer on where it is 0.
 *
 * @param {any} settings
 * @param {number} number
 */
export function logNorms({ activation, width, seed }, number) {
  const count = LAYERS * width * width;
  if (weights.length !== count) weights = new Float32Array(count);
  fillNormal(weights, 1, new Generator(1000 * seed + number));
  const relu = activation === "relu";
  const gain = Math.sqrt((relu ? 2 : 1) / width);
  const logs = new Float64Array(LAYERS + 1).fill(-Infinity);
  logs[0] = 0;
  let signal = new Float64Array(width).fill(1);
  for (let l = 1, at = 0; l <= LAYERS; l += 1) {
    const next = new Float64Array(width);
    let sum = 0;
    for (let i = 0; i < width; i += 1) {
      let z = 0;
      for (let j = 0; j < width; j += 1, at += 1) z += weights[at] * signal[j];
      z *= gain;
      next[i] = relu && z < 0 ? 0 : z;
      sum += next[i] * next[i];
    }
    if (sum === 0) break; // no unit is on: dead, and all layers that follow
    logs[l] = logs[l - 1] + Math.log(sum / width);
    const scale = Math.sqrt(width / sum);
    signal = next.map((value) => value * scale);
  }
  return logs;
}
