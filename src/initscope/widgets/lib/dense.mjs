// What networks that train in the page share: the product of matrices, the loss, and work in slices.

/** What `generator` returns, without a pause. */
export function finish(generator) {
  let next = generator.next();
  while (!next.done) next = generator.next();
  return next.value;
}

/**
 * out = a b, of shape (rows, columns), summed over `inner` in double precision.
 *
 * Element (i, k) of a is a[i * aRow + k * aColumn], so that a transpose costs nothing; b likewise.
 * Tiles of 4 x 4 keep their sums in registers.
 */
export function multiply(out, rows, columns, inner, a, aRow, aColumn, b, bRow, bColumn) {
  const wholeRows = rows - (rows % 4);
  const wholeColumns = columns - (columns % 4);
  for (let i = 0; i < wholeRows; i += 4) {
    for (let j = 0; j < wholeColumns; j += 4) {
      let s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
      let s20 = 0, s21 = 0, s22 = 0, s23 = 0, s30 = 0, s31 = 0, s32 = 0, s33 = 0;
      let p = i * aRow;
      let q = j * bColumn;
      for (let k = 0; k < inner; k += 1) {
        const a0 = a[p], a1 = a[p + aRow], a2 = a[p + 2 * aRow], a3 = a[p + 3 * aRow];
        const b0 = b[q], b1 = b[q + bColumn], b2 = b[q + 2 * bColumn], b3 = b[q + 3 * bColumn];
        s00 += a0 * b0; s01 += a0 * b1; s02 += a0 * b2; s03 += a0 * b3;
        s10 += a1 * b0; s11 += a1 * b1; s12 += a1 * b2; s13 += a1 * b3;
        s20 += a2 * b0; s21 += a2 * b1; s22 += a2 * b2; s23 += a2 * b3;
        s30 += a3 * b0; s31 += a3 * b1; s32 += a3 * b2; s33 += a3 * b3;
        p += aColumn;
        q += bRow;
      }
      let o = i * columns + j;
      out[o] = s00; out[o + 1] = s01; out[o + 2] = s02; out[o + 3] = s03;
      o += columns;
      out[o] = s10; out[o + 1] = s11; out[o + 2] = s12; out[o + 3] = s13;
      o += columns;
      out[o] = s20; out[o + 1] = s21; out[o + 2] = s22; out[o + 3] = s23;
      o += columns;
      out[o] = s30; out[o + 1] = s31; out[o + 2] = s32; out[o + 3] = s33;
    }
  }
  for (let i = 0; i < rows; i += 1) { // what does not fill a tile
    for (let j = i < wholeRows ? wholeColumns : 0; j < columns; j += 1) {
      let sum = 0;
      for (let k = 0; k < inner; k += 1) sum += a[i * aRow + k * aColumn] * b[k * bRow + j * bColumn];
      out[i * columns + j] = sum;
    }
  }
}

/**
 * Mean cross-entropy, in nats, of the first examples of `logits`, one for each of `labels`; its
 * gradient with respect to the logits goes into `gradient`. NaN where a logit is not finite, as in
 * torch.
 */
export function crossEntropy(logits, labels, classes, gradient) {
  let total = 0;
  for (let row = 0; row < labels.length; row += 1) {
    const first = row * classes;
    let largest = -Infinity;
    for (let c = 0; c < classes; c += 1) largest = Math.max(largest, logits[first + c]);
    let sum = 0;
    for (let c = 0; c < classes; c += 1) sum += Math.exp(logits[first + c] - largest);
    const logSum = largest + Math.log(sum);
    total += logSum - logits[first + labels[row]];
    for (let c = 0; c < classes; c += 1) {
      const probability = Math.exp(logits[first + c] - logSum);
      gradient[first + c] = (probability - (c === labels[row] ? 1 : 0)) / labels.length;
    }
  }
  return total / labels.length;
}
