// Elements, made in one call.

/** An element with attributes, properties (`.name`), listeners (`onname`) and children. */
export function make(tag, attributes = {}, ...children) {
  const svg = tag.startsWith("svg:");
  const element = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith(".")) element[name.slice(1)] = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const PROSE = "The signal vanishes at layer 50, where 1.4e-10 of its variance is left. ";

/**
 * Give `element`, whose text changes, room for about `length` letters at any width, so that nothing
 * below it moves as the text gets longer or shorter.
 */
export function keepRoom(element, length) {
  // Words break a line or two earlier or later than in another text: a little more.
  const sample = PROSE.repeat(Math.ceil((1.05 * length) / PROSE.length)).slice(0, Math.ceil(1.05 * length));
  if (element.dataset.room !== sample) element.dataset.room = sample;
}

/** Whether the reader asks for less motion. */
export function reducedMotion() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}
