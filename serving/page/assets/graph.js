// A profile as a graph: its records on the left, its identifiers on the right, a line where a record has one.

import { draw } from "./elements.js";

const _MOST = 40;
const [_WIDTH, _LEFT, _RIGHT, _BOX, _STEP, _HEIGHT, _TOP] = [780, 10, 470, 300, 34, 24, 30];
const _LONGEST = 40;

/** The graph as an SVG, and how many of the records are in it. `named` labels it. */
export function graph(profile, named) {
  const records = [...profile.made_of.records].sort((a, b) => _order(a.record, b.record)).slice(0, _MOST);
  const links = new Set(profile.identifiers.map(_name));
  const names = new Set([...links, ...records.flatMap((each) => each.identifiers.map(_name))]);
  const place = new Map([...names].map((name, at) => [name, at]));
  const rows = Math.max(records.length, names.size);
  const lines = records.flatMap((record, at) =>
    record.identifiers.map((each) => _line(at, place.get(_name(each)), links.has(_name(each)))),
  );
  const view = `0 0 ${_WIDTH} ${_TOP + rows * _STEP}`;
  const svg = draw(
    "svg",
    { class: "graph", role: "img", viewBox: view, "aria-label": named },
    draw("text", { class: "head", x: _LEFT, y: 16 }, "Records"),
    draw("text", { class: "head", x: _RIGHT, y: 16 }, "Identifiers"),
    lines,
    records.map((each, at) => _node(_LEFT, at, each.record, "record")),
    [...place].map(([name, at]) => _node(_RIGHT, at, name, links.has(name) ? "identifier" : "identifier loose")),
  );
  return { svg, drawn: records.length };
}

function _name({ type, value }) {
  return `${type} ${value}`;
}

function _order(one, other) {
  return one < other ? -1 : Number(one > other);
}

function _node(x, at, name, kind) {
  const y = _TOP + at * _STEP;
  const text = name.length > _LONGEST ? `${name.slice(0, _LONGEST - 1)}…` : name;
  return draw(
    "g",
    { class: kind },
    draw("title", {}, name),
    draw("rect", { x, y, width: _BOX, height: _HEIGHT, rx: 5 }),
    draw("text", { x: x + 8, y: y + 17 }, text),
  );
}

function _line(from, to, links) {
  const [x, end] = [_LEFT + _BOX, _RIGHT];
  const [y, to_y] = [from, to].map((at) => _TOP + at * _STEP + _HEIGHT / 2);
  const middle = (x + end) / 2;
  return draw("path", { class: links ? null : "loose", d: `M${x} ${y}C${middle} ${y} ${middle} ${to_y} ${end} ${to_y}` });
}
