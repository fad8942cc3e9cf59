// Averages over two correlated Gaussians, as power series in their correlation.

const TERMS = 256;
// Nodes of the trapezoidal rule, exact to rounding for smooth functions: as in initscope.theory.kernels.
const NODES = Float64Array.from({ length: 385 }, (_, i) => (i - 192) / 16);
/** @type {Float64Array[]} */
let table = [];

/** Normalized Hermite polynomials times density times step at the nodes, a row a degree. */
function hermite() {
  if (table.length) return table;
  const rows = [NODES.map((z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI) / 16)];
  rows.push(rows[0].map((value, i) => NODES[i] * value));
  for (let k = 1; k < TERMS - 1; k += 1) {
    rows.push(NODES.map((z, i) => (z * rows[k][i] - Math.sqrt(k) * rows[k - 1][i]) / Math.sqrt(k + 1)));
  }
  table = rows;
  return table;
}

/**
 * Squared Hermite coefficients of phi(sqrt(q) z), for a smooth phi: E[phi(u1) phi(u2)] of Gaussians of variance q
 * is their power series in the correlation, and by Price's theorem its derivative over q is E[phi'(u1) phi'(u2)].
 */
function squaredCoefficients(phi, q) {
  const values = NODES.map((z) => phi(Math.sqrt(q) * z));
  const squares = hermite().map((row) => {
    let sum = 0;
    for (let i = 0; i < row.length; i += 1) sum += row[i] * values[i];
    return sum * sum;
  });
  // Those of no weight, even multiplied by their order, are left out.
  const total = squares.reduce((sum, square, k) => sum + k * square, squares[0]);
  let used = squares.length;
  while (used > 2 && used * squares[used - 1] < 1e-15 * total) used -= 1;
  return squares.slice(0, used);
}

/** [E[phi(u1) phi(u2)], E[phi'(u1) phi'(u2)]] as a function of the correlation, for a smooth phi. */
export function seriesOf(phi, q) {
  const squares = squaredCoefficients(phi, q);
  return (c) => {
    let [value, slope] = [0, 0];
    for (let k = squares.length - 1; k >= 0; k -= 1) {
      slope = slope * c + value;
      value = value * c + squares[k];
    }
    return [value, slope / q];
  };
}
