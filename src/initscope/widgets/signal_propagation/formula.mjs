// The variance of the last layer as a formula, with the numbers that stand in the controls.

import { short } from "../lib/format.mjs";
import { powerText } from "./message.mjs";
import { EPSILON, SLOPES, logSum, moments } from "./theory.mjs";

/**
 * A piece of a formula: its text, what it `of`ten is colored as ("sigma", "width", "depth", "signal",
 * "bias"), and whether it is raised or lowered.
 *
 * @typedef {{ text: string, of?: string, raised?: boolean, lowered?: boolean }} Piece
 */

const LN10 = Math.LN10;
const plain = (text) => ({ text });
const of = (kind, text, more = {}) => ({ text: String(text), of: kind, ...more });
const raised = (depth) => (depth === 1 ? [] : [of("depth", depth, { raised: true })]);
const q = (layer) => [of("signal", "q"), of("depth", layer, { lowered: true })];

/**
 * The pieces of "q_L = ... = ...", in two lines: in symbols, and in numbers with the result.
 *
 * Where every layer multiplies by the same factor it is a power, else the last step from layer L - 1.
 *
 * @returns {Piece[][]}
 */
export function formula(settings, forward) {
  const { activation, depth, width, std, bias_std: biasStd, residual, layer_norm: layerNorm } = settings;
  const result = of("signal", powerText(forward[depth] / LN10));
  const times = [of("width", width), plain(" · "), of("sigma", short(std, 4)), plain("²")];
  const symbols = [of("width", "n"), of("sigma", "σ"), plain("²")];
  const slopes = SLOPES[activation];
  if (slopes && !biasStd && !residual && !layerNorm) {
    const half = (slopes[0] ** 2 + slopes[1] ** 2) / 2;
    const share = half === 1 ? [] : [plain(half === 0.5 ? " / 2" : ` · ${short(half, 5)}`)];
    const rest = depth - 1;
    const power = (base, factor) => (rest ? [plain(" · ("), ...base, ...factor, plain(")"), ...raised(rest)] : []);
    const first = width * std ** 2;
    return [
      [...q(depth), plain(" = "), ...symbols, ...power(symbols, share)],
      [
        plain("= "), ...times, ...power(times, share),
        ...(rest ? [plain(` = ${short(first)} · ${short(first * half)}`), ...raised(rest)] : []), plain(" = "), result,
      ],
    ];
  }
  // The last step, with what comes before it as it is.
  const before = forward[depth - 1];
  const acts = depth > 1 || residual;
  const scale = acts && layerNorm ? logSum(before, Math.log(EPSILON)) : 0;
  const mean = acts ? moments(activation, before - scale)[0] : before;
  const z = [of("signal", "z"), of("depth", depth - 1, { lowered: true })];
  const inside = layerNorm ? [plain("LN("), ...z, plain(")")] : z;
  const expected = acts ? [plain(" · E[φ("), ...inside, plain(")²]")] : [plain(" · "), ...q(0)];
  const old = residual ? [...q(depth - 1), plain(" + ")] : [];
  const oldNumber = residual ? [of("signal", powerText(before / LN10)), plain(" + ")] : [];
  const bias = biasStd ? [plain(" + "), of("bias", "σ"), of("bias", "b", { lowered: true }), plain("²")] : [];
  const biasNumber = biasStd ? [plain(" + "), of("bias", short(biasStd)), plain("²")] : [];
  return [
    [...q(depth), plain(" = "), ...old, ...symbols, ...expected, ...bias],
    [plain("= "), ...oldNumber, ...times, plain(` · ${powerText(mean / LN10)}`), ...biasNumber, plain(" = "), result],
  ];
}
