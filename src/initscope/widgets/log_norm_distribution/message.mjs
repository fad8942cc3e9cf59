// What the widget says of the networks drawn so far, and the Python that draws the same.

import { LAYERS } from "./networks.mjs";
import { firstOrder, moments, sampleMoments } from "./theory.mjs";
import { short } from "../lib/format.mjs";

/** What is found in the networks drawn, from their logarithms by layer, beside theory. */
export function findings(s, paths) {
  const ends = paths.map((path) => path[s.depth]);
  const alive = ends.filter(Number.isFinite);
  return {
    ends, alive, drawn: ends.length, dead: ends.length - alive.length,
    newest: ends.length ? ends[ends.length - 1] : NaN,
    theory: moments(s), first: firstOrder(s), sample: sampleMoments(alive),
  };
}

const ENOUGH = 10; // networks, for an interval of their variance to mean anything

const off = (found, expected, error) => Math.abs(found - expected) > error;

/** What is seen, in words. */
export function sentence(s, { drawn, dead, newest, theory, sample }) {
  const law = `a mean of ${short(theory.mean)} and a variance of ${short(theory.variance)}`;
  if (drawn === 0) {
    return `No network is drawn yet. By theory the logarithm of what ${s.depth} layers of ${s.width} units leave of a signal has ${law}.`;
  }
  const last = newest === -Infinity ? "The newest network is dead: a layer in which no unit is on lets nothing pass."
    : `The newest network leaves ${short(Math.exp(newest))} of the signal's mean square, a typical one ${short(Math.exp(theory.mean))}, where infinite width leaves 1.`;
  const died = dead === 0 ? "" : dead === 1 ? " (without 1 that is dead)" : ` (without ${dead} that are dead)`;
  if (drawn - dead < 2) return `${last} By theory the logarithm has ${law}; two living networks or more say something of it.`;
  const meanOff = off(sample.mean, theory.mean, sample.meanError);
  const varianceOff = off(sample.variance, theory.variance, sample.varianceError);
  const verdict = drawn - dead < ENOUGH ? `${ENOUGH} networks or more can tell` : meanOff && varianceOff ? "both outside of their 95% intervals" : meanOff ? "the mean outside of its 95% interval"
    : varianceOff ? "the variance outside of its 95% interval" : "both within their 95% intervals";
  return `${last} Over ${drawn} networks${died} the logarithm has a mean of ${short(sample.mean)} ± ${short(sample.meanError, 2)} and `
    + `a variance of ${short(sample.variance)} ± ${short(sample.varianceError, 2)} so far; theory says ${short(theory.mean)} and ${short(theory.variance)}, ${verdict}.`;
}

/** A cell of Python that draws the same networks. */
export function python({ activation, width, depth, networks, seed }) {
  const relu = activation === "relu";
  return `import torch

from initscope.analysis.log_norms import log_moments
from initscope.theory import log_norm_moments

width, depth = ${width}, ${depth}
logs = []
for number in range(${networks}):  # the networks of the page
    generator = torch.Generator().manual_seed(${1000 * seed} + number)
    weights = torch.randn(${LAYERS}, width, width, generator=generator).double()
    signal = torch.ones(width, dtype=torch.float64)
    for layer in weights[:depth]:
        signal = (${relu ? 2 : 1} / width) ** 0.5 * layer @ signal${relu ? "\n        signal = signal.relu()" : ""}
    logs.append(signal.square().mean().log().item())

alive = [log for log in logs if log > -float("inf")]
print(f"{len(logs)} networks, {len(alive)} alive")
if len(alive) > 1:
    found = log_moments(alive)
    print(f"mean {found.mean:.5g} ± {found.mean_error:.3g}")
    print(f"variance {found.variance:.5g} ± {found.variance_error:.3g}")
theory = log_norm_moments([width] * (depth + 1), "${relu ? "relu" : "identity"}")
print(f"theory: mean {theory.mean:.5g}, variance {theory.variance:.5g}")`;
}
