// Recorded training runs, out of the bytes that runs.py packs.
//
// No document is touched here. Numbers that are not there are NaN.

import { float, reader, whole } from "../lib/codec.mjs";

/**
 * The runs of `recorded`, each {label, steps, folder, adamw, ending, roles}, with `roles` from a role to
 *
 * name, layers     as the reader reads it, and the layers that have such a matrix
 * std, predicted   rows (layers) of columns (steps); no rows where nothing is predicted
 * histograms       rows (layers) of {step, low, high, counts, std}, with the std of the weights
 */
export function unpack({ runs }, bytes) {
  const read = reader(bytes);
  const rows = (values, n, width) => Array.from({ length: n }, (_, k) => Array.from(values.slice(k * width, (k + 1) * width)));

  return runs.map((run) => {
    const roles = {};
    for (const { role, name, layers, predicted, bins } of run.roles) {
      const [n, width, counted] = [layers.length, run.steps.length, run.histogram_steps.length];
      const std = rows(read([n, width], float, [1]), n, width);
      const guess = predicted ? rows(read([n, width], float, [1]), n, width) : [];
      const edges = read([n, counted, 2], float, [0, 1]); // in units of the std
      const counts = read([n, counted, bins], whole);
      const histograms = layers.map((_, k) => run.histogram_steps.flatMap((step, j) => {
        const here = k * counted + j;
        const of = std[k][run.steps.indexOf(step)];
        const [low, high] = [edges[2 * here] * of, edges[2 * here + 1] * of];
        if (!Number.isFinite(low) || !Number.isFinite(high)) return [];
        return [{ step, low, high, std: of, counts: Array.from(counts.slice(here * bins, (here + 1) * bins)) }];
      }));
      roles[role] = { name, layers, std, predicted: guess, histograms };
    }
    return { ...run, roles };
  });
}
