// A line plot as SVG, drawn to the width that there is.

import { number, signed } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { top: 14, right: 16, bottom: 44, left: 54 };

/**
 * Draws points, in order, with axes.
 *
 * `ends` are the least and the greatest value, `added` is a straight line `{base, slope}` or null,
 * `range` a pair of values or null. `onHover` hears the index of the point under the pointer, or
 * null.
 */
export function drawPlot(svg, { points, ends, axis, added, range, title, text, onHover }) {
  const width = Math.max(240, svg.parentElement.clientWidth - paddingOf(svg.parentElement));
  const height = Math.round(Math.min(380, Math.max(240, width * 0.62)));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);

  const xs = extent(ends);
  const line = added && xs.map((x) => added.base + added.slope * x);
  const [low, high] = extent([...points.map(({ score }) => score), ...(line ?? [])]);
  const yTicks = ticks(low, high, height / 52);
  const ys = [Math.min(low, yTicks[0]), Math.max(high, yTicks.at(-1))];
  const x = scale(xs, [MARGIN.left + 8, width - MARGIN.right - 8]);
  const y = scale(ys, [height - MARGIN.bottom, MARGIN.top]);
  const area = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top };
  area.bottom = height - MARGIN.bottom;

  const parts = [make("title", { id: "plot-title" }, title), make("desc", { id: "plot-text" }, text)];
  if (range) parts.push(band(x, range, area, xs));
  parts.push(...yAxis(yTicks, y, area), ...xAxis(axis, ticks(...xs, width / 80), x, area));
  if (line) parts.push(path("added", xs.map((each, i) => [x(each), y(line[i])])));
  const places = points.map(({ value, score }) => [x(value), y(score)]);
  if (places.length > 1) parts.push(path("score", places));
  points.forEach((point, i) => parts.push(dot(point, places[i], onHover)));
  svg.replaceChildren(...parts);
}

function xAxis(title, values, x, { left, right, bottom }) {
  const labels = values.map((value) =>
    make("text", { x: x(value), y: bottom + 18, "text-anchor": "middle" }, signed(value, 4)),
  );
  const name = { x: (left + right) / 2, y: bottom + 38, "text-anchor": "middle", class: "name" };
  return [...labels, make("text", name, title)];
}

function yAxis(values, y, { left, right }) {
  const parts = values.flatMap((value) => [
    make("line", { x1: left, x2: right, y1: y(value), y2: y(value), class: value ? "grid" : "zero" }),
    make("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, number(value, 6)),
  ]);
  const middle = (y(values[0]) + y(values.at(-1))) / 2;
  const turned = { transform: `translate(12 ${middle}) rotate(-90)`, "text-anchor": "middle" };
  return [...parts, make("text", { ...turned, class: "name" }, "score")];
}

function band(x, range, { top, bottom }, xs) {
  const [from, to] = range.map((value) => x(Math.min(xs[1], Math.max(xs[0], value))));
  const size = { x: from, y: top, width: Math.max(0, to - from), height: bottom - top };
  return make("rect", { ...size, class: "range" });
}

function dot({ index, value, score }, [cx, cy], onHover) {
  const group = make("g", { class: "dot" });
  group.dataset.index = index;
  // A large target that cannot be seen around the small dot that can.
  group.append(make("circle", { cx, cy, r: 14, class: "target" }), make("circle", { cx, cy, r: 4 }));
  group.append(make("title", {}, `${signed(value, 4)}: ${number(score)}`));
  group.addEventListener("pointerenter", () => onHover(index));
  group.addEventListener("pointerleave", () => onHover(null));
  return group;
}

function path(name, places) {
  const d = places.map(([px, py], i) => `${i ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`);
  return make("path", { class: name, d: d.join("") });
}

/** An element of SVG. */
export function make(tag, attributes, text = "") {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

function extent(values) {
  if (!values.length) return [-1, 1];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return low === high ? [low - 1, high + 1] : [low, high];
}

function scale([from, to], [low, high]) {
  return (value) => low + ((value - from) / (to - from)) * (high - low);
}

/** Round numbers within a range, about as many as asked for. */
export function ticks(low, high, wanted) {
  const rough = (high - low) / Math.max(2, wanted);
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * unit >= rough) * unit;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) =>
    Number(((first + i) * step).toPrecision(12)),
  );
}

function paddingOf(parent) {
  const style = getComputedStyle(parent);
  return parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
}
