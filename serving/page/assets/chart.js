// A small chart of one number over time, a line for each group.

import { draw, make } from "./elements.js";

const _MOST = 6;
const [_WIDTH, _HEIGHT, _PAD] = [240, 90, 6];
const _LATEST = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

/** The chart as a figure. `lines` by group: pairs of a time, in ms since 1970, and a number, the earliest first. */
export function chart(name, lines) {
  const latest = [...lines].filter(([, points]) => points.length > 0).sort(([, one], [, other]) => other.at(-1)[0] - one.at(-1)[0]);
  // by name, so that a group keeps its colour while rows come
  const drawn = latest.slice(0, _MOST).sort(([one], [other]) => (one < other ? -1 : 1));
  const said = drawn.map(([group, points]) => `${group ? `${group}: ` : ""}${_LATEST.format(points.at(-1)[1])}`);
  const left = lines.size - drawn.length;
  const points = drawn.flatMap(([, each]) => each);
  const place = _places(points);
  const svg = draw(
    "svg",
    { class: "chart", role: "img", viewBox: `0 0 ${_WIDTH} ${_HEIGHT}`, "aria-label": `${name} over time. Latest: ${said.join("; ") || "nothing"}.` },
    _scale(points.map(([, number]) => number)),
    drawn.map(([, each], at) => _line(each.map(place), at)),
  );
  const marks = said.map((each, at) => make("li", { class: `line-${at}` }, each));
  const rest = left > 0 && make("li", {}, `and ${left} more, in the rows`);
  return make("figure", {}, make("figcaption", {}, name), svg, make("ul", { class: "legend" }, marks, rest));
}

function _scale(numbers) {
  const [low, high] = _ends([0, ...numbers]);
  const text = (y, number) => draw("text", { x: _PAD, y }, _LATEST.format(number));
  return [text(_PAD + 8, high), text(_HEIGHT - _PAD, low)];
}

function _line(places, at) {
  const [x, y] = places.at(-1);
  const points = places.map((each) => each.map((one) => one.toFixed(1)).join(",")).join(" ");
  return draw("g", { class: `line-${at}` }, draw("polyline", { points }), draw("circle", { cx: x, cy: y, r: 3 }));
}

function _places(points) {
  const [times, numbers] = [points.map(([time]) => time), points.map(([, number]) => number)];
  const x = _scaled(times, _WIDTH, _PAD);
  const y = _scaled([0, ...numbers], _HEIGHT, _PAD);
  return ([time, number]) => [x(time), _HEIGHT - y(number)];
}

function _ends(values) {
  // no spread: there may be more values than a call takes arguments
  return values.reduce(([low, high], each) => [Math.min(low, each), Math.max(high, each)], [Infinity, -Infinity]);
}

function _scaled(values, size, pad) {
  const [low, high] = _ends(values);
  const span = high - low || 1;
  return (value) => pad + ((value - low) / span) * (size - 2 * pad);
}
