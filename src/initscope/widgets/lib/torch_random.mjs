// The random numbers of torch and numpy, bit for bit, so that a seed gives the same network, batches
// and all, in the page as in Python. Both draw from the Mersenne Twister (Matsumoto & Nishimura, 1998).

/** A generator seeded as `torch.Generator().manual_seed(seed)`; of `seed`, the lower 32 bits count. */
export class Generator {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed >>> 0;
    for (let i = 1; i < 624; i += 1) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(before, 1812433253) + i;
    }
    this.next = 624;
    this.spare = null; // the second of a pair of normal numbers
  }

  /** The next 32 random bits. */
  bits() {
    const { state } = this;
    if (this.next === 624) {
      for (let i = 0; i < 624; i += 1) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
        state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.next = 0;
    }
    let y = state[this.next];
    this.next += 1;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** Uniform in [0, 1) with 24 bits, as torch draws a float32. */
  uniform() {
    return (this.bits() & 0xffffff) / 0x1000000;
  }

  /** Uniform in [0, 1) with 53 bits, as torch draws a float64. */
  uniformDouble() {
    const high = this.bits() & 0x1fffff;
    return (high * 0x100000000 + this.bits()) / 0x20000000000000;
  }
}

/** Fill a Float32Array as `tensor.normal_(0, std, generator=generator)` fills a float32 tensor. */
export function fillNormal(out, std, generator) {
  const n = out.length;
  if (n < 16) { // one by one, in pairs of which the second may serve the next tensor
    for (let i = 0; i < n; i += 1) {
      if (generator.spare === null) {
        const angle = 2 * Math.PI * generator.uniformDouble();
        const radius = Math.sqrt(-2 * Math.log1p(-generator.uniformDouble()));
        generator.spare = radius * Math.sin(angle);
        out[i] = radius * Math.cos(angle) * std;
      } else {
        out[i] = generator.spare * std;
        generator.spare = null;
      }
    }
    return out;
  }
  const draw = (first, last) => {
    for (let i = first; i < last; i += 1) out[i] = generator.uniform();
  };
  const transform = (first) => {
    for (let i = first; i < first + 8; i += 1) {
      const radius = Math.sqrt(-2 * Math.log(1 - out[i]));
      const angle = 2 * Math.PI * out[i + 8];
      out[i] = radius * Math.cos(angle) * std;
      out[i + 8] = radius * Math.sin(angle) * std;
    }
  };
  draw(0, n);
  for (let i = 0; i + 16 <= n; i += 16) transform(i);
  if (n % 16) { // the last 16 are drawn again
    draw(n - 16, n);
    transform(n - 16);
  }
  return out;
}

/** `torch.randperm(n, generator=generator)`, for n below 2^32 / 20. */
export function permutation(n, generator) {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = 0; i < n - 1; i += 1) {
    const j = i + (generator.bits() % (n - i));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** The lower and the upper half of `numpy.random.SeedSequence(words).generate_state(1, uint64)[0]`. */
export function seedSequence(words) {
  let multiplier = 0x43b0d7e5;
  const hash = (value) => {
    value ^= multiplier;
    multiplier = Math.imul(multiplier, 0x931e8875);
    value = Math.imul(value, multiplier);
    return value ^ (value >>> 16);
  };
  const mix = (x, y) => {
    const value = Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715) | 0;
    return value ^ (value >>> 16);
  };
  const pool = [0, 1, 2, 3].map((i) => hash(words[i] ?? 0));
  for (let from = 0; from < 4; from += 1) {
    for (let to = 0; to < 4; to += 1) if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
  }
  for (const word of words.slice(4)) {
    for (let to = 0; to < 4; to += 1) pool[to] = mix(pool[to], hash(word));
  }
  multiplier = 0x8b51f9dd;
  return [0, 1].map((i) => {
    let value = pool[i] ^ multiplier;
    multiplier = Math.imul(multiplier, 0x58f38ded);
    value = Math.imul(value, multiplier);
    return (value ^ (value >>> 16)) >>> 0;
  });
}
