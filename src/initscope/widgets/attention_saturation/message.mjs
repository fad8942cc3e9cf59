// What the widget of attention's saturation says: the sentence, and the Python for the same rows.

import { ROWS, attention, criticalStd, firstRow, limit, participation, summary } from "./theory.mjs";
import { part, percent, short } from "../lib/format.mjs";

export const whole = (value) => value.toLocaleString("en");

/** What is found at one std of the logits, in the rows drawn and in theory. */
export function findings({ logit_std, n_keys }, normals) {
  const { squares, largest } = attention(normals, n_keys, logit_std);
  return {
    weights: firstRow(normals, n_keys, logit_std),
    row: squares[0],
    ...summary(squares),
    ruled: largest.filter((weight) => weight > 0.5).length / ROWS, // rows in which one key has most
    predicted: participation(n_keys, logit_std),
    limit: limit(n_keys, logit_std),
  };
}

/** What is seen, in words. */
export function sentence({ logit_std, n_keys }, found) {
  if (logit_std === 0) return `All ${whole(n_keys)} keys have the same weight, so Σp² is 1/${whole(n_keys)}.`;
  const row = found.weights[0] > 0.95 ? "In the row shown one key has nearly all of the attention."
    : `The row shown attends as ${short(1 / found.row)} equal keys of ${whole(n_keys)} would (that is 1/Σp²); its largest weight is ${percent(found.weights[0])}.`;
  const off = found.limit / found.predicted - 1;
  const verdict = `${short(found.limit)} for the mean over rows, ${part(Math.abs(off))} too ${off > 0 ? "high" : "low"}`;
  if (logit_std > criticalStd(n_keys)) {
    return `Frozen: few keys take part. ${row} In ${percent(found.ruled)} of ${ROWS} rows one key has more than half. `
      + `1 − √(2 ln T)/b says ${verdict}: this limit of many keys is approached slowly.`;
  }
  if (Number.isNaN(found.limit)) {
    return `In between, neither formula holds: rows ruled by one key pull the mean up. ${row} `
      + `Half of ${ROWS} rows have a Σp² below ${short(found.median)}, while the mean is ${short(found.mean)}; in ${percent(found.ruled)} of them one key has more than half.`;
  }
  return `Dense: as a rule many keys take part. ${row} exp(b²)/T says ${verdict}.`;
}

/** A cell of Python that draws the same rows. */
export function python({ logit_std, n_keys, seed }) {
  return `import torch

from initscope.theory import attention_participation, critical_logit_std

n_keys, logit_std = ${n_keys}, ${logit_std}
generator = torch.Generator().manual_seed(${seed})
logits = logit_std * torch.randn(${ROWS}, n_keys, generator=generator)  # the rows of the page
squares = torch.softmax(logits, -1).square().sum(-1)
print(f"row {squares[0]:.5g}, mean {squares.mean():.5g}")
print(f"integral {attention_participation(n_keys, logit_std):.5g}")
print(f"limit {attention_participation(n_keys, logit_std, limit=True):.5g}")
print(f"critical std {critical_logit_std(n_keys):.5g}")`;
}
