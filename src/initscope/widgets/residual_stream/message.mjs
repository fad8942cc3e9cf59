// What the widget of the residual stream says, and the Python for the same numbers.

import { LENGTH, stream } from "./theory.mjs";
import { part, short } from "../lib/format.mjs";

/** What theory says, and what the stream would end at with the other choice of 1/sqrt(2L). */
export function findings(s) {
  const found = stream(s);
  const sum = (first) => found.branches.reduce((total, { added }, i) => total + (i % 2 === first ? added : 0), 0);
  const [attention, mlp] = [sum(0), sum(1)];
  const end = found.variance[s.n_layer];
  const other = s.norm === "post" ? NaN : stream({ ...s, scaled: !s.scaled }, false).variance[s.n_layer];
  return { ...found, end, other, share: attention / (attention + mlp) };
}

const times = (factor) => `${short(factor)} times`;

/** What is seen, in words. */
export function sentence(s, { embeddings, branches, end, other, share, gradient }) {
  const blocks = s.n_layer === 1 ? "1 block" : `${s.n_layer} blocks`;
  const compared = short(gradient[1]) === "1"
    ? "the same variance after block 1 as" : `${times(gradient[1])} the variance after block 1 that it has`;
  const last = s.n_layer === 1 ? "" : `Going back, the gradient has ${compared} after block ${s.n_layer}`;
  if (s.norm === "post") {
    const most = Math.max(...branches.map(({ added }) => added));
    const smallest = Math.min(...gradient.slice(1));
    const at = gradient.indexOf(smallest);
    const least = last && at > 1 && at < s.n_layer ? `, and the least, ${times(smallest)}, after block ${at}` : "";
    return `Post-LN: LayerNorm brings the stream back to a variance of 1 after every branch; no branch adds more than ${short(most)}. ${last ? `${last}${least}.` : ""}`.trim();
  }
  const rule = s.scaled ? "Without 1/√(2L) it would end at" : "With 1/√(2L) it would end at";
  return `Pre-LN: the variance of the stream grows from ${short(embeddings)} in the embeddings to ${short(end)} after ${blocks}, ${times(end / embeddings)}; `
    + `${part(share)} of what is added is attention's, the rest the MLP's. ${rule} ${short(other)}. ${last ? `${last}.` : ""}`.trim();
}

/** A cell of Python that computes the same. */
export function python({ n_layer: depth, n_embd: channels, std, scaled, norm }) {
  const post = norm === "post";
  return `from initscope.theory import ${post ? "residual_gradient_variance" : "residual_gradient_variance, residual_stream_variance"}
from initscope.widgets import ResidualStream

n_layer, n_embd, seq_len, std = ${depth}, ${channels}, ${LENGTH}, ${std}
residual_std = std${scaled ? " / (2 * n_layer) ** 0.5" : ""}
sizes = (n_layer, n_embd, seq_len, std)
${post ? "" : `variance = residual_stream_variance(*sizes, residual_std=residual_std)
print(f"variance {variance[0]:.6g} to {variance[-1]:.6g}")
`}gradient = residual_gradient_variance(*sizes, residual_std=residual_std, norm="${norm}")
print(f"gradient after block 1 {gradient[1]:.6g}")

# What each branch adds.
stream = ResidualStream(n_layer=n_layer, n_embd=n_embd, std=std, scaled=${scaled ? "True" : "False"}, norm="${norm}")
print(stream.branches().to_string(index=False))`;
}
