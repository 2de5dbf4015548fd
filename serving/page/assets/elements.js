// Elements, made of texts: what others wrote becomes text nodes, never HTML.

/** The element of the page that has this id. */
export function the(id) {
  return document.getElementById(id);
}

/** A new element with attributes and children; texts among those stay texts. Null and false are left out. */
export function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same, of an SVG. */
export function draw(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((each) => each !== null && each !== false));
  return element;
}

/** Names and values, as a description list's children. */
export function described(values) {
  return Object.entries(values).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, shown(value))]);
}

/** A value of JSON as a text. */
export function shown(value) {
  if (value === null) return "—";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
