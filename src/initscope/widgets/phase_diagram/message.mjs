// What the phase diagram says: the sentence, and the Python for the same numbers.

import { path, point } from "./theory.mjs";
import { short } from "../lib/format.mjs";

export const NAMES = { relu: "ReLU", gelu: "GELU", tanh: "tanh", erf: "erf" };
/** Depth scales that can be trained, by the rule of Schoenholz et al. (2017). */
export const RULE = 6;
const FAR = 1000; // layers that are as good as no limit

/**
 * What theory says at a point, and of the two inputs on their way.
 *
 * @param {any} settings
 */
export function findings({ activation, sigma_w2: weight, sigma_b2: bias, correlation, depth }) {
  const at = point(activation, weight, bias);
  const unbounded = Number.isNaN(at.q);
  const phase = unbounded ? "unbounded" : RULE * at.gradient > FAR ? "edge" : at.chi < 1 ? "ordered" : "chaotic";
  const c = at.c < 1e-9 ? 0 : at.c; // what the iteration leaves of 0
  return { ...at, c, phase, path: path(activation, weight, bias, correlation, depth) };
}

const layers = (scale) => {
  const count = RULE * scale;
  return count > FAR ? `more than ${FAR.toLocaleString("en")}` : count < 10 ? short(count, 2) : short(Math.round(count), 4);
};

/** What is seen, in words. */
export function sentence(s, { phase, q, chi, c, correlation, gradient, path: { correlation: along } }) {
  const end = along[along.length - 1];
  const pair = `two inputs go from correlation ${short(s.correlation)} to ${short(end)} in layer ${s.depth}`;
  const each = `each layer multiplies the variance of the gradient by ${short(chi)}`;
  const rule = `By the rule of ${RULE} depth scales`;
  if (phase === "unbounded") {
    return `No fixed point: the signal grows without bound, so that no depth scale is defined; ${pair}.`;
  }
  if (phase === "edge") {
    const slowly = q > 0 ? `, on a slow way to ${short(c)}` : "";
    return `At the edge of chaos: gradients keep their variance, and ${pair}${slowly}. ${rule} over ${FAR.toLocaleString("en")} layers train.`;
  }
  if (phase === "ordered") {
    const lost = q > 0 ? `${pair}, on their way to ${short(c)}: the network forgets how they differ` : `${pair} while the signal itself fades`;
    return `Ordered: ${each}, and ${lost}. ${rule} ${layers(Math.min(correlation, gradient))} layers train.`;
  }
  return `Chaotic: ${each}, and ${pair}, where all pairs come to ${short(c)} in the end. `
    + `${rule} ${layers(gradient)} layers train if the gradient sets the limit, ${layers(correlation)} if the correlation does.`;
}

/** A cell of Python that computes the same. */
export function python(s) {
  return `from initscope.theory import (
    chi, correlation_fixed_point, correlation_map, depth_scale, fixed_point, length_map,
)

here = ("${s.activation}", ${s.sigma_w2}, ${s.sigma_b2})  # activation, variance of weights (times fan-in), of biases
known = {"missing": "nan"}  # where no variance is a fixed point

# Two inputs of mean square 1. Layer 1 is linear in them.
_, weight, bias = here
q, c = weight + bias, (weight * ${s.correlation} + bias) / (weight + bias)
for layer in range(2, ${s.depth} + 1):
    q, c = length_map(q, *here), min(1.0, correlation_map(c, *here, q=q))
print(f"layer ${s.depth}: variance {q:.6g}, correlation {c:.6g}")

print(f"q* {fixed_point(*here, **known):.6g}")
print(f"chi_1 {chi(*here, **known):.6g}")
print(f"c* {correlation_fixed_point(*here, **known):.6g}")
for kind in ("correlation", "length", "gradient"):
    print(f"depth scale of the {kind}: {depth_scale(*here, kind, **known):.6g} layers")`;
}
