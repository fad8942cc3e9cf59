// Recorded training runs, out of the bytes that runs.py packs.
//
// No document is touched here. Numbers that are not there are NaN.

const MANTISSA = 12; // bits of it that are kept

/**
 * The runs of `recorded`, each {label, steps, folder, adamw, ending, roles}, with `roles` from a role to
 *
 * name, layers     as the reader reads it, and the layers that have such a matrix
 * std, predicted   rows (layers) of columns (steps); no rows where nothing is predicted
 * histograms       rows (layers) of {step, low, high, counts, std}, with the std of the weights
 */
export function unpack({ runs }, bytes) {
  let at = 0;
  /** Whole numbers of `shape`, of which differences were taken along the axes `along`. */
  function codes(shape, along) {
    const count = shape.reduce((a, b) => a * b, 1);
    const found = new Int32Array(count);
    for (let i = 0; i < count; i += 1) {
      let turns = 0;
      for (let plane = 3; plane >= 0; plane -= 1) turns = turns * 256 + bytes[at + plane * count + i];
      found[i] = turns % 2 ? -(turns + 1) / 2 : turns / 2;
    }
    at += 4 * count;
    for (const axis of along) {
      const stride = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
      for (let i = 0; i < count; i += 1) {
        if (Math.floor(i / stride) % shape[axis] > 0) found[i] += found[i - stride];
      }
    }
    return found;
  }
  const numbers = (shape, along) => new Float32Array(codes(shape, along).map((code) => code << (23 - MANTISSA)).buffer);
  const rows = (values, n, width) => Array.from({ length: n }, (_, k) => Array.from(values.slice(k * width, (k + 1) * width)));

  return runs.map((run) => {
    const roles = {};
    for (const { role, name, layers, predicted, bins } of run.roles) {
      const [n, width, counted] = [layers.length, run.steps.length, run.histogram_steps.length];
      const std = rows(numbers([n, width], [1]), n, width);
      const guess = predicted ? rows(numbers([n, width], [1]), n, width) : [];
      const edges = numbers([n, counted, 2], [0, 1]); // in units of the std
      const counts = codes([n, counted, bins], []);
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
