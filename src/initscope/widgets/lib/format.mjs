// Numbers as text, for people.

/** `value` with `digits` significant digits: 0.0123, 1.2e-9, 4,500. */
export function short(value, digits = 3) {
  if (Number.isNaN(value)) return "not a number";
  if (!Number.isFinite(value)) return value > 0 ? "infinity" : "-infinity";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    return `${String(Number(mantissa))}e${Number(exponent)}`;
  }
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 12 });
}

/** Ticks of a logarithmic axis: 10^-3 as it is set in print. */
export function power(exponent) {
  const raised = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  return "10" + [...String(exponent)].map((c) => raised[c]).join("");
}

/** A share as a percentage. */
export function percent(value, digits = 0) {
  return Number.isFinite(value) ? `${(100 * value).toFixed(digits)}%` : "not a number";
}

/** A part of something as a percentage: with a decimal where it is small, as a bound where it is tiny. */
export function part(share) {
  const size = Math.abs(share);
  return size > 0 && size < 5e-4 ? "below 0.05%" : percent(share, size > 0 && size < 0.1 ? 1 : 0);
}

/** Rows of cells as CSV, with a header. */
export function csv(columns, rows) {
  const cell = (value) => (/[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}
