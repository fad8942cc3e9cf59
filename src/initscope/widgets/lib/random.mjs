// Random numbers from a seed: the same on every machine.

/** A function that returns uniform numbers in [0, 1): the generator sfc32, seeded by splitmix32. */
export function uniforms(seed) {
  let state = (Math.imul(seed | 0, 0x9e3779b1) ^ 0x85ebca6b) >>> 0;
  const next = () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) | 0;
  };
  let a = next(), b = next(), c = next(), d = 1;
  const draw = () => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + t) | 0;
    return (t >>> 0) / 4294967296;
  };
  for (let i = 0; i < 12; i += 1) draw();
  return draw;
}

/** Fill `out`, a Float32Array or Float64Array, with standard normal numbers (polar method). */
export function fillNormal(out, uniform) {
  for (let i = 0; i < out.length; i += 2) {
    let u, v, s;
    do {
      u = 2 * uniform() - 1;
      v = 2 * uniform() - 1;
      s = u * u + v * v;
    } while (s >= 1 || s === 0);
    const factor = Math.sqrt((-2 * Math.log(s)) / s);
    out[i] = u * factor;
    if (i + 1 < out.length) out[i + 1] = v * factor;
  }
  return out;
}
