// Weight std through recorded runs: what the widget computes, without a page. A run is as in
// runs.mjs, and `matrices` are those of one of its roles.

import { short } from "../lib/format.mjs";
import { decades, logTicks, ticks } from "../lib/ticks.mjs";

/** Index of the number nearest to `value`. */
export function nearest(numbers, value) {
  let best = 0;
  numbers.forEach((number, k) => {
    if (Math.abs(number - value) < Math.abs(numbers[best] - value)) best = k;
  });
  return best;
}

/** Rows (layers) of the std, or of its ratio to the measured one at the start, over the steps. */
export function curves(matrices, quantity, of = "std") {
  const rows = matrices[of];
  if (quantity === "std") return rows;
  return rows.map((row, k) => row.map((value) => value / matrices.std[k][0]));
}

const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

const percent = (share) => (share < 10 ? `${(100 * share).toFixed(0)}%` : `${short(100 * share)}%`);

/** Smallest and largest finite value, each with its layer, or null if no value is finite. */
function range(layers, values) {
  const finite = [...values.keys()].filter((k) => Number.isFinite(values[k]));
  if (!finite.length) return null;
  const low = finite.reduce((best, k) => (values[k] < values[best] ? k : best));
  const high = finite.reduce((best, k) => (values[k] > values[best] ? k : best));
  return { low: values[low], lowLayer: layers[low], high: values[high], highLayer: layers[high] };
}

/** Mean over layers of |measured / predicted - 1| at one step; NaN without a prediction. */
export function discrepancy({ std, predicted }, index) {
  const off = predicted.map((row, k) => Math.abs(std[k][index] / row[index] - 1)).filter(Number.isFinite);
  return off.length ? mean(off) : NaN;
}

/**
 * What there is to say of one role at one step.
 *
 * low, lowLayer, high, highLayer   smallest and largest of the quantity over the layers
 * growth                           mean over layers of std / initial std
 * spread, spreadAtStart            largest std over smallest
 * measured, predicted              the quantity of the chosen layer
 * off, offAtEnd                    see discrepancy()
 * missing                          layers without a finite std
 */
export function summary(run, settings) {
  const { role, quantity } = settings;
  const found = run.roles[role];
  const index = nearest(run.steps, settings.step);
  const layer = found.layers.indexOf(settings.layer);
  const column = (rows, k) => rows.map((row) => row[k]);
  const now = column(found.std, index);
  const ratios = column(curves(found, "ratio"), index).filter(Number.isFinite);
  const spread = (values) => {
    const ends = range(found.layers, values);
    return ends ? ends.high / ends.low : NaN;
  };
  return {
    step: run.steps[index],
    ...range(found.layers, column(curves(found, quantity), index)),
    growth: ratios.length ? mean(ratios) : NaN,
    spread: spread(now),
    spreadAtStart: spread(column(found.std, 0)),
    measured: curves(found, quantity)[layer][index],
    predicted: curves(found, quantity, "predicted")[layer]?.[index] ?? NaN,
    off: discrepancy(found, index),
    offAtEnd: discrepancy(found, run.steps.length - 1),
    missing: found.layers.filter((_, k) => !Number.isFinite(now[k])),
  };
}

/** A text that begins a sentence or a heading. */
export const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

/** The sentence below the picture. */
export function sentence(run, settings) {
  const s = summary(run, settings);
  const { name, layers } = run.roles[settings.role];
  const step = `${run.label ? `${capital(run.label)}, step` : "Step"} ${s.step.toLocaleString("en")}`;
  if (s.low === undefined) return [`${step}: no finite std of ${name}.`, run.ending].filter(Boolean).join(" ");
  const several = s.lowLayer !== s.highLayer;
  const times = settings.quantity === "ratio" ? " times" : "";
  const since = times && `${times} its start`;
  const extent = several
    ? `${short(s.low)} (layer ${s.lowLayer}) to ${short(s.high)} (layer ${s.highLayer})${since}`
    : `${short(s.low)}${since} ${layers.length > 1 ? "in every layer" : `(layer ${s.lowLayer})`}`;
  const starting = s.step === run.steps[0];
  const predicting = settings.show_prediction && Number.isFinite(s.off);
  const ended = Number.isFinite(s.offAtEnd);
  const atEnd = `${percent(s.offAtEnd)} at the last step`;
  const parts = [];
  if (starting) {
    parts.push(`${step}: the run starts, the std of ${name} is ${extent}.`);
    if (predicting && ended) parts.push(`AdamW theory starts from the same; it is off by ${atEnd}.`);
  } else {
    parts.push(`${step}: the std of ${name} is ${extent}, on average ${short(s.growth)} times${times ? "" : " its start"}.`);
  }
  if (several && !starting) {
    const change = s.spread / s.spreadAtStart;
    const verdict = change > 1.05 ? "the layers have moved apart"
      : change < 1 / 1.05 ? "the layers have moved together" : "the layers are about as far apart";
    parts.push(`The largest std is ${short(s.spread)} times the smallest, at the start ${short(s.spreadAtStart)}: ${verdict}.`);
  }
  if (predicting && !starting) {
    if (Number.isFinite(s.predicted)) {
      parts.push(`AdamW theory gives ${short(s.predicted)}${times} for layer ${settings.layer}, measured ${short(s.measured)}.`);
    }
    const later = ended && s.step < run.steps[run.steps.length - 1] ? `, by ${atEnd}` : "";
    parts.push(`Over all layers it is off by ${percent(s.off)} on average${later}.`);
  }
  if (predicting && run.adamw?.weight_decay === 0) {
    parts.push("Weight decay is 0: in theory there is no equilibrium, and the std grows with every step.");
  }
  if (s.missing.length) parts.push(`Not finite in layer ${s.missing.join(", ")}.`);
  if (run.ending) parts.push(run.ending);
  return parts.join(" ");
}

/**
 * Histogram of a layer at the step nearest to the setting, as a density.
 *
 * Returns {step, edges, counts, density, std}, with the std of all weights at its step, or null.
 */
export function histogram(run, { role, layer, step }) {
  const { layers, histograms } = run.roles[role];
  const known = histograms[layers.indexOf(layer)];
  if (!known.length) return null;
  const { low, high, counts, std, step: at } = known[nearest(known.map((one) => one.step), step)];
  const width = (high - low) / counts.length;
  const total = counts.reduce((sum, count) => sum + count, 0);
  return {
    step: at,
    edges: Array.from({ length: counts.length + 1 }, (_, k) => low + k * width),
    counts,
    density: counts.map((count) => count / (total * width)),
    std,
  };
}

/** Density of a normal distribution of mean 0. */
export function normalDensity(x, std) {
  return x.map((value) => Math.exp(-0.5 * (value / std) ** 2) / (std * Math.sqrt(2 * Math.PI)));
}

/** What is shown, in the tidy schema: curves of the role, other roles at the step, the histogram. */
export function table(run, settings) {
  const { role, quantity } = settings;
  const index = nearest(run.steps, settings.step);
  const rows = [];
  for (const [other, found] of Object.entries(run.roles)) {
    for (const [of, stat] of [["std", quantity], ["predicted", `predicted_${quantity}`]]) {
      if (of === "predicted" && !(settings.show_prediction && other === role)) continue;
      curves(found, quantity, of).forEach((row, k) => row.forEach((value, s) => {
        if (other === role || s === index) rows.push([run.steps[s], found.layers[k], other, "weight", stat, value]);
      }));
    }
  }
  const shown = histogram(run, settings);
  shown?.counts.forEach((count, k) => {
    const stat = `count from ${short(shown.edges[k], 5)} to ${short(shown.edges[k + 1], 5)}`;
    rows.push([shown.step, settings.layer, role, "weight", stat, count]);
  });
  const columns = ["step", "layer", "role", "kind", "stat", "value"];
  return run.label
    ? { columns: ["run", ...columns], rows: rows.map((row) => [run.label, ...row]) }
    : { columns, rows };
}

/** Ends of a logarithmic axis with room for all of these roles in all runs, whichever is shown. */
export function limits(runs, roles, quantity) {
  let [low, high] = [Infinity, 0];
  for (const run of runs) {
    for (const found of roles.map((role) => run.roles[role]).filter(Boolean)) {
      for (const value of [...curves(found, quantity), ...curves(found, quantity, "predicted")].flat()) {
        if (value > 0 && Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
      }
    }
  }
  return high > 0 ? [low / 1.08, high * 1.08] : [0.01, 1];
}

/** What to label on such an axis, [value, text]: 1, 2, 5, or powers of ten, or round numbers. */
export function axisTicks([low, high]) {
  const wide = high / low > 1000;
  const found = wide ? decades(low, high).map((power) => 10 ** power) : logTicks(low, high);
  return (found.length > 2 || wide ? found : ticks(low, high, 4)).map((value) => [value, short(value)]);
}

/** A color between violet (first layer) and ochre (last), which reads on light and dark. */
export function depthColor(k, count) {
  const stops = [[138, 99, 210], [43, 147, 168], [168, 137, 31]];
  const at = count > 1 ? (2 * k) / (count - 1) : 0;
  const first = Math.min(1, Math.floor(at));
  return `rgb(${stops[first].map((c, i) => Math.round(c + (at - first) * (stops[first + 1][i] - c))).join(", ")})`;
}

/** The code cell that makes the same point. */
export function python(run, settings) {
  const { role, layer, show_prediction } = settings;
  const step = run.steps[nearest(run.steps, settings.step)];
  const { folder, adamw } = run;
  const predicts = show_prediction && run.roles[role].predicted.length > 0;
  const theory = predicts && folder && adamw;
  const lines = [];
  if (theory) {
    lines.push(
      "import numpy as np",
      "import pandas as pd",
      "",
      "from initscope.pretrain import PretrainSpec, read_record",
      "from initscope.theory import adamw_variance_trajectory",
      "",
    );
  } else if (folder) lines.push("from initscope.pretrain import read_record", "");
  lines.push(`step, role, layer = ${step}, "${role}", ${layer}`);
  if (folder) lines.push(`record = read_record(${JSON.stringify(folder)})`, "frame = record.variances");
  else lines.push("# `frame` is your own run, in the columns step, layer, role, kind, stat, value.");
  lines.push(
    "weights = frame[(frame.kind == \"weight\") & (frame.stat == \"std\") & (frame.role == role)]",
    'std = weights.pivot(index="layer", columns="step", values="value")',
    `now, start = std[step], std[${run.steps[0]}]`,
    'print(f"smallest std: {now.min():.6g} (layer {now.idxmin()})")',
    'print(f"largest std: {now.max():.6g} (layer {now.idxmax()})")',
    'print(f"growth: {(now / start).mean():.6g}")',
    'print(f"largest over smallest: {now.max() / now.min():.6g}, at the start {start.max() / start.min():.6g}")',
  );
  if (theory) {
    const { snr, diffusion, alignment } = adamw;
    lines.push(
      "",
      'spec = PretrainSpec.from_dict(record.run["spec"])',
      "variance = adamw_variance_trajectory(",
      "    start, spec.learning_rates(), spec.weight_decay, spec.betas,",
      `    snr=${snr}, diffusion=${diffusion}, alignment=${alignment},`,
      ")",
      "after = np.sqrt(np.column_stack([start**2, variance]))  # a row for each layer, a column for each step",
      "predicted = pd.DataFrame(after, index=std.index)",
      "off = (std / predicted[std.columns] - 1).abs().mean()",
    );
  } else if (predicts) {
    lines.push(
      "",
      "# `predictions` is a frame of the same columns, for example from",
      "# initscope.widgets.qkv_training.pretrained_runs.adamw_prediction.",
      "guess = predictions[(predictions.stat == \"std\") & (predictions.role == role)]",
      'predicted = guess.pivot(index="layer", columns="step", values="value")',
      "off = (std / predicted - 1).abs().mean()",
    );
  }
  if (predicts) {
    lines.push(
      'print(f"layer {layer}: {now[layer]:.6g}, predicted {predicted[step][layer]:.6g}")',
      'print(f"AdamW theory is off by {off[step]:.4%}, at the end by {off.iloc[-1]:.4%}")',
    );
  }
  return lines.join("\n");
}
