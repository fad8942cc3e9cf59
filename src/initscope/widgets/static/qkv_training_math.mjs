// Weight std of attention matrices through a recorded run: what the widget computes, without a page.

import { short } from "./lib/format.mjs";

/** The record as it is sent, numbers that are not finite as null, with NaN in their place. */
export function decode(record) {
  const numbers = (table) => Object.fromEntries(Object.entries(table).map(
    ([role, layers]) => [role, layers.map((row) => row.map((value) => value ?? NaN))],
  ));
  return { ...record, std: numbers(record.std), predicted: numbers(record.predicted) };
}

/** Index of the number nearest to `value`. */
export function nearest(numbers, value) {
  let best = 0;
  numbers.forEach((number, k) => {
    if (Math.abs(number - value) < Math.abs(numbers[best] - value)) best = k;
  });
  return best;
}

/** Rows (layers) of the std, or of its ratio to the initial one, over the recorded steps. */
export function curves(record, role, quantity, of = "std") {
  const rows = record[of][role] ?? [];
  if (quantity === "std") return rows;
  return rows.map((row, k) => row.map((value) => value / record.std[role][k][0]));
}

const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

const percent = (share) => (share < 10 ? `${(100 * share).toFixed(0)}%` : `${short(100 * share)}%`);

/** Smallest and largest finite value, each with its layer, or null if no value is finite. */
function range(record, values) {
  const finite = [...values.keys()].filter((k) => Number.isFinite(values[k]));
  if (!finite.length) return null;
  const low = finite.reduce((best, k) => (values[k] < values[best] ? k : best));
  const high = finite.reduce((best, k) => (values[k] > values[best] ? k : best));
  return {
    low: values[low], lowLayer: record.layers[low], high: values[high], highLayer: record.layers[high],
  };
}

/** Mean over layers of |measured / predicted - 1| at one recorded step; NaN without a prediction. */
export function discrepancy(record, role, index) {
  const off = (record.predicted[role] ?? [])
    .map((row, k) => Math.abs(record.std[role][k][index] / row[index] - 1))
    .filter(Number.isFinite);
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
export function summary(record, settings) {
  const { role, quantity } = settings;
  const index = nearest(record.steps, settings.step);
  const layer = record.layers.indexOf(settings.layer);
  const column = (table, k) => table.map((row) => row[k]);
  const now = column(record.std[role], index);
  const ratios = column(curves(record, role, "ratio"), index).filter(Number.isFinite);
  const spread = (values) => {
    const found = range(record, values);
    return found ? found.high / found.low : NaN;
  };
  return {
    step: record.steps[index],
    ...range(record, column(curves(record, role, quantity), index)),
    growth: ratios.length ? mean(ratios) : NaN,
    spread: spread(now),
    spreadAtStart: spread(column(record.std[role], 0)),
    measured: curves(record, role, quantity)[layer][index],
    predicted: curves(record, role, quantity, "predicted")[layer]?.[index] ?? NaN,
    off: discrepancy(record, role, index),
    offAtEnd: discrepancy(record, role, record.steps.length - 1),
    missing: record.layers.filter((_, k) => !Number.isFinite(now[k])),
  };
}

/** The sentence below the picture. QKVTraining in Python says the same. */
export function sentence(record, settings) {
  const s = summary(record, settings);
  const name = settings.role.toUpperCase();
  const step = s.step.toLocaleString("en");
  if (s.low === undefined) return `Step ${step}: no finite std of ${name} was recorded.`;
  const several = s.lowLayer !== s.highLayer;
  const extent = several
    ? `${short(s.low)} (layer ${s.lowLayer}) to ${short(s.high)} (layer ${s.highLayer})`
    : `${short(s.low)} ${record.layers.length > 1 ? "in every layer" : `(layer ${s.lowLayer})`}`;
  const starting = s.step === record.steps[0];
  const predicting = settings.show_prediction && Number.isFinite(s.off);
  const ended = Number.isFinite(s.offAtEnd);
  const atEnd = `${percent(s.offAtEnd)} at the last step`;
  const parts = [];
  if (starting) {
    const times = settings.quantity === "ratio" ? " times its start" : "";
    parts.push(`Step ${step}: the run starts, the std of ${name} is ${extent}${times}.`);
    if (predicting && ended) parts.push(`AdamW theory starts from the same; it is off by ${atEnd}.`);
  } else {
    parts.push(settings.quantity === "ratio"
      ? `Step ${step}: the std of ${name} is ${extent} times its start, on average ${short(s.growth)} times.`
      : `Step ${step}: the std of ${name} is ${extent}, on average ${short(s.growth)} times its start.`);
  }
  if (several && !starting) {
    const change = s.spread / s.spreadAtStart;
    const verdict = change > 1.05 ? "the layers have moved apart"
      : change < 1 / 1.05 ? "the layers have moved together" : "the layers are about as far apart";
    parts.push(`The largest std is ${short(s.spread)} times the smallest, at the start ${short(s.spreadAtStart)}: ${verdict}.`);
  }
  if (predicting && !starting) {
    if (Number.isFinite(s.predicted)) {
      const times = settings.quantity === "ratio" ? " times" : "";
      parts.push(`AdamW theory gives ${short(s.predicted)}${times} for layer ${settings.layer}, measured ${short(s.measured)}.`);
    }
    const later = ended && s.step < record.steps[record.steps.length - 1] ? `, by ${atEnd}` : "";
    parts.push(`Over all layers it is off by ${percent(s.off)} on average${later}.`);
  }
  if (s.missing.length) parts.push(`Not finite in layer ${s.missing.join(", ")}.`);
  return parts.join(" ");
}

/**
 * Histogram of a layer at the recorded one nearest to the step, as a density.
 *
 * Returns {step, edges, density, std}, with the std of all weights at its step, or null.
 */
export function histogram(record, { role, layer, step }) {
  const row = record.layers.indexOf(layer);
  const bins = record.histograms.bins?.[role]?.[row];
  if (!bins) return null;
  const index = nearest(record.histograms.steps, step);
  const found = bins[index];
  if (!found) return null;
  const [low, high, counts] = found;
  const width = (high - low) / counts.length;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const at = record.histograms.steps[index];
  return {
    step: at,
    edges: Array.from({ length: counts.length + 1 }, (_, k) => low + k * width),
    counts,
    density: counts.map((count) => count / (total * width)),
    std: record.std[role][row][record.steps.indexOf(at)],
  };
}

/** Density of a normal distribution of mean 0. */
export function normalDensity(x, std) {
  return x.map((value) => Math.exp(-0.5 * (value / std) ** 2) / (std * Math.sqrt(2 * Math.PI)));
}

/** What is shown, in the tidy schema: curves of the role, other roles at the step, the histogram. */
export function table(record, settings) {
  const { role, quantity } = settings;
  const index = nearest(record.steps, settings.step);
  const rows = [];
  for (const other of record.roles) {
    for (const [of, stat] of [["std", quantity], ["predicted", `predicted_${quantity}`]]) {
      if (of === "predicted" && !(settings.show_prediction && other === role)) continue;
      curves(record, other, quantity, of).forEach((row, k) => row.forEach((value, s) => {
        if (other === role || s === index) rows.push([record.steps[s], record.layers[k], other, "weight", stat, value]);
      }));
    }
  }
  const shown = histogram(record, settings);
  shown?.counts.forEach((count, k) => {
    const stat = `count from ${short(shown.edges[k], 5)} to ${short(shown.edges[k + 1], 5)}`;
    rows.push([shown.step, settings.layer, role, "weight", stat, count]);
  });
  return { columns: ["step", "layer", "role", "kind", "stat", "value"], rows };
}

/** Lowest and highest finite number of all rows, with a margin; [0, 1] if there is none. */
export function extent(rows) {
  const finite = rows.flat().filter(Number.isFinite);
  if (!finite.length) return [0, 1];
  const low = Math.min(...finite);
  const high = Math.max(...finite);
  const margin = 0.06 * (high - low) || 0.1 * high || 1;
  return [Math.max(0, low - margin), high + margin];
}

/** A color between violet (first layer) and ochre (last), which reads on light and dark. */
export function depthColor(k, count) {
  const stops = [[138, 99, 210], [43, 147, 168], [168, 137, 31]];
  const at = count > 1 ? (2 * k) / (count - 1) : 0;
  const first = Math.min(1, Math.floor(at));
  return `rgb(${stops[first].map((c, i) => Math.round(c + (at - first) * (stops[first + 1][i] - c))).join(", ")})`;
}

/** The code cell that makes the same point. */
export function python(record, settings) {
  const { role, layer, show_prediction } = settings;
  const step = record.steps[nearest(record.steps, settings.step)];
  const { source, adamw } = record;
  const first = record.steps[0];
  const predicts = show_prediction && record.predicted[role];
  const theory = predicts && source && adamw;
  const lines = [theory && "import numpy as np", source && "import pandas as pd"].filter(Boolean);
  if (theory) lines.push("", "from initscope.theory import adamw_variance_trajectory");
  if (lines.length) lines.push("");
  lines.push(`step, role, layer = ${step}, "${role}", ${layer}`);
  if (source) lines.push(`folder = "${source}"`, 'frame = pd.read_parquet(f"{folder}/weights.parquet")');
  else lines.push("# `frame` is your own run, in the columns step, layer, role, kind, stat, value.");
  lines.push(
    "weights = frame[(frame.kind == \"weight\") & (frame.stat == \"std\") & (frame.role == role)]",
    'std = weights.pivot(index="layer", columns="step", values="value")',
    `now, start = std[step], std[${first}]`,
    'print(f"smallest std: {now.min():.6g} (layer {now.idxmin()})")',
    'print(f"largest std: {now.max():.6g} (layer {now.idxmax()})")',
    'print(f"growth: {(now / start).mean():.6g}")',
    'print(f"largest over smallest: {now.max() / now.min():.6g}, at the start {start.max() / start.min():.6g}")',
  );
  if (theory) {
    const { weight_decay, betas, snr, diffusion, alignment } = adamw;
    lines.push(
      "",
      'lr = pd.read_parquet(f"{folder}/training.parquet").lr',
      "variance = adamw_variance_trajectory(",
      `    start, lr, weight_decay=${weight_decay}, betas=(${betas.join(", ")}),`,
      `    snr=${snr}, diffusion=${diffusion}, alignment=${alignment},`,
      ")",
      "after = np.sqrt(np.column_stack([start**2, variance]))  # a row for each layer, a column for each step",
      "predicted = pd.DataFrame(after, index=std.index)",
      "off = (std / predicted[std.columns] - 1).abs().mean()",
    );
  } else if (predicts) {
    lines.push(
      "",
      "# `predictions` is a frame of the same columns, for example from adamw_prediction.",
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
