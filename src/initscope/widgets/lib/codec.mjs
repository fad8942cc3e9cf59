// Arrays out of the bytes that codec.py packs, its kinds of numbers by the same names.
//
// A kind makes numbers, Float64Array or the like, of an Int32Array; one that is not there is NaN.

const DROPPED = 23 - 12; // bits of a mantissa of float32 that are not kept

/** Whole numbers, none of them missing. */
export const whole = (codes) => codes;

/** Numbers of any size. */
export const float = (codes) => new Float32Array(codes.map((code) => code << DROPPED).buffer);

/** Numbers from `lowest` on, in steps of 1 / scale. */
export const even = (scale, lowest = 0) => (codes) =>
  Float64Array.from(codes, (code) => (code === 0 ? NaN : (code - 1) / scale + lowest));

/** Numbers of at least 0, infinity among them, to a relative precision. */
export function logarithmic(precision) {
  const step = 2 * Math.log1p(precision);
  const middle = 3 + Math.ceil(746 / step); // the smallest number is exp(-745)
  const value = (code) => {
    if (code < 3) return [NaN, 0, Infinity][code];
    return Math.exp((code - middle) * step);
  };
  return (codes) => Float64Array.from(codes, value);
}

/**
 * A function that reads the next array of `bytes`: its numbers in one row, given its shape, its kind
 * and the axes along which differences were taken.
 */
export function reader(bytes) {
  let at = 0;
  return (shape, kind, along = []) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const planes = bytes[at];
    const codes = new Int32Array(count);
    for (let i = 0; i < count; i += 1) {
      let turns = 0;
      for (let plane = planes - 1; plane >= 0; plane -= 1) turns = turns * 256 + bytes[at + 1 + plane * count + i];
      codes[i] = turns % 2 ? -(turns + 1) / 2 : turns / 2;
    }
    at += 1 + planes * count;
    for (const axis of along) {
      const stride = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
      for (let i = 0; i < count; i += 1) {
        if (Math.floor(i / stride) % shape[axis] > 0) codes[i] += codes[i - stride];
      }
    }
    return kind(codes);
  };
}
