// Recorded sweeps: out of the bytes that sweeps.py packs, and what is shown of them.
//
// No document is touched here. Numbers that are not there are NaN.

import { even, logarithmic, reader } from "../lib/codec.mjs";
import { percent, short } from "../lib/format.mjs";

// How each array is kept, in the order of the bytes: [kind, axes along which differences were taken].
/** @type {Record<string, [string, number[]]>} */
const FIELDS = {
  diverged: ["step", []],
  accuracy: ["share", []],
  loss: ["log", [2]],
  forward_start: ["log", [0, 3]],
  forward_end: ["log", [3]],
  backward_start: ["log", [0, 3]],
  backward_end: ["log", [3]],
  dead_end: ["percent", []],
};

/** Stds between which networks train, as the paper states it. */
export const PAPER_BAND = [1e-2, 1e-1];

/**
 * The sweeps of `recorded`, {precision, sweeps}, each with `arrays`, one object a network: name ->
 * {shape: [trainings, seeds, k, stds], values}.
 */
export function unpack({ precision, sweeps }, bytes) {
  const kinds = { step: even(1, -1), share: even(10_000), percent: even(100), log: logarithmic(precision) };
  const read = reader(bytes);
  return sweeps.map((sweep) => ({
    ...sweep,
    arrays: sweep.networks.map(({ depth }) => {
      const sizes = { loss: sweep.steps.length, diverged: 1, accuracy: 1, dead_end: depth - 1 };
      const arrays = {};
      for (const [name, [kind, along]] of Object.entries(FIELDS)) {
        const shape = [sweep.trainings.length, sweep.seeds.length, sizes[name] ?? depth, sweep.stds.length];
        arrays[name] = { shape, values: read(shape, kinds[kind], along) };
      }
      return arrays;
    }),
  }));
}

/**
 * The runs of one place of a sweep, `at` = {network, training, std}, all indices.
 *
 * Returns {diverged, accuracy, loss, forward_start, ...}, each one entry a seed: a number, or the
 * list of those along the curve or the layers. `diverged` is -1 for a run that did not, NaN for one
 * that is not recorded.
 */
export function cell(sweep, at) {
  const found = {};
  for (const [name, { shape, values }] of Object.entries(sweep.arrays[at.network])) {
    const [, seeds, k, stds] = shape;
    found[name] = sweep.seeds.map((_, seed) => {
      const list = Array.from({ length: k }, (__, i) => values[((at.training * seeds + seed) * k + i) * stds + at.std]);
      return name === "diverged" || name === "accuracy" ? list[0] : list;
    });
  }
  return found;
}

/** The seeds of `cell` that are recorded. */
export function present(runs) {
  return [...runs.diverged.keys()].filter((seed) => !Number.isNaN(runs.diverged[seed]));
}

/** Median; a number that is not there counts as infinite. NaN for an empty list. */
export function median(values) {
  if (!values.length) return NaN;
  const sorted = [...values].map((v) => (Number.isNaN(v) ? Infinity : v)).sort((a, b) => a - b);
  const half = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(half) - 1], sorted[Math.floor(half)]];
  return low === high ? low : (low + high) / 2;
}

const last = (list) => list[list.length - 1];
const first = (list) => list[0];

/** What can be mapped: the number of one run, NaN where there is none. */
export const QUANTITIES = {
  accuracy: (runs, seed) => runs.accuracy[seed],
  loss: (runs, seed) => last(runs.loss[seed]),
  divergence: (runs, seed) => (runs.diverged[seed] < 0 ? NaN : runs.diverged[seed]),
  signal: (runs, seed) => Math.log10(last(runs.forward_start[seed]) / first(runs.forward_start[seed])),
  gradient: (runs, seed) => Math.log10(first(runs.backward_start[seed]) / last(runs.backward_start[seed])),
  dead: (runs, seed) => last(runs.dead_end[seed]) ?? NaN,
};

/**
 * The mapped number of one place: of the seed of index `seed`, or the median of all (null).
 *
 * The step of divergence is the median of the runs that diverge. NaN where there is no number.
 */
export function mapped(quantity, runs, seed) {
  const seeds = present(runs).filter((s) => seed === null || s === seed);
  let values = seeds.map((s) => QUANTITIES[quantity](runs, s));
  if (quantity === "divergence") values = values.filter((v) => !Number.isNaN(v));
  const middle = median(values);
  return Number.isFinite(middle) || middle === -Infinity ? middle : NaN;
}

/** How many of the runs there are, how many learn, how many diverge, and the median step. */
export function outcome(sweep, at, runs, seed) {
  const seeds = present(runs).filter((s) => seed === null || s === seed);
  const above = sweep.networks[at.network].learns_above[at.training];
  const gone = seeds.filter((s) => runs.diverged[s] >= 0);
  return {
    runs: seeds.length,
    learn: above === null ? 0 : seeds.filter((s) => runs.accuracy[s] >= above).length,
    diverge: gone.length,
    step: median(gone.map((s) => runs.diverged[s])),
    accuracy: median(seeds.map((s) => runs.accuracy[s])),
    loss: median(seeds.map((s) => last(runs.loss[s]))),
    dead: median(seeds.map((s) => QUANTITIES.dead(runs, s))),
    signal: median(seeds.map((s) => QUANTITIES.signal(runs, s))),
  };
}

/** The sentence that says what is seen at a place. */
export function sentence(sweep, at, seed) {
  const network = sweep.networks[at.network];
  const training = sweep.trainings[at.training];
  const std = sweep.stds[at.std];
  const o = outcome(sweep, at, cell(sweep, at), seed);
  const where = `${network.text}, std ${short(std)}, ${training.text}`;
  const start = where[0].toUpperCase() + where.slice(1);
  if (o.runs === 0) return `${start}: not recorded.`;

  const accuracy = percent(o.accuracy, 1);
  const updates = o.step === 1 ? "update" : "updates";
  let text = `${start}: `;
  if (seed === null) {
    text += `${o.learn} of ${o.runs} seeds learn, median accuracy ${accuracy}`;
    if (o.diverge > 0) text += `; ${o.diverge} diverge, after ${short(o.step)} ${updates} (median)`;
  } else {
    text += `seed ${sweep.seeds[seed]} ${o.learn ? "learns" : "does not learn"}, accuracy ${accuracy}`;
    if (o.diverge > 0) text += `; it diverges after ${short(o.step)} ${updates}`;
  }
  text += ". ";
  if (network.depth > 1 && Number.isFinite(o.signal)) {
    const fate = o.signal < -3 ? "vanishes" : o.signal > 3 ? "explodes" : "stays in range";
    text += `Before training the signal ${fate}: its variance is multiplied by `
      + `${short(10 ** (o.signal / (network.depth - 1)), 2)} a layer, ${short(10 ** o.signal, 2)} in all. `;
  } else if (network.depth > 1) {
    text += `Before training the signal ${o.signal < 0 ? "vanishes: nothing of it" : "explodes: no finite number"} is left. `;
  }
  if (o.dead > 0.5 && Number.isFinite(o.dead)) {
    text += `In the end ${percent(o.dead)} of the units of the last hidden layer are dead. `;
  }
  const theory = side(std, network.low, network.high);
  const paper = side(std, ...PAPER_BAND);
  text += `The std lies ${theory} the theory band (${short(network.low, 2)} to ${short(network.high, 2)}) `
    + `and ${paper} the paper's (0.01 to 0.1).`;
  return text;
}

/** The grid holds decimal numbers, so an edge may be off by rounding. */
function side(std, low, high) {
  if (std < low * 0.999) return "below";
  return std > high * 1.001 ? "above" : "inside";
}
