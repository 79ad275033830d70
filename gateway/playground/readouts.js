// What watched traits show at each token, drawn while an answer is written.

import { byId, element, fromTemplate, number } from "./format.js";
import { make } from "./plot.js";

const WIDTH = 300;
const HEIGHT = 44;

/** The traits to watch in answers under a steering, as a request's fields. */
export function readWatched({ traits = [], operations = [], when, limits = [] }) {
  const { value } = byId("watch");
  const steered = [
    ...traits.map(({ name }) => name),
    ...[...operations, ...(when ? [when] : []), ...limits].map(({ trait }) => trait),
  ];
  const monitor = value === "steered" ? [...new Set(steered)] : [value].filter(Boolean);
  return monitor.length ? { monitor, monitor_tokens: true } : {};
}

/** How far the curves of several answers go, by trait, so that they can be compared. */
export class Scales {
  constructor() {
    this.length = 2;
    this.extents = {};
    this.curves = [];
  }

  /** Makes room for the newest token of a curve. */
  take(trait, index, ...values) {
    this.length = Math.max(this.length, index + 1);
    const [low, high] = (this.extents[trait] ??= [0, 0]);
    this.extents[trait] = [Math.min(low, ...values), Math.max(high, ...values)];
  }

  /** Draws all curves anew, at most once for each picture on the screen. */
  draw() {
    this.request ??= requestAnimationFrame(() => {
      this.request = null;
      for (const curve of this.curves) curve.draw();
    });
  }
}

/** The curves of an answer, one for each trait, and a table of what is in them. */
export class Readouts {
  constructor(place, traits, scales) {
    this.place = place;
    this.scales = scales;
    this.curves = traits.map((trait) => new Curve(trait, scales));
    this.box = fromTemplate("readouts-template");
    this.turns = this.box.querySelector(".turns");
    this.table = this.box.querySelector("details");
    this.table.addEventListener("toggle", () => this.#tabulate());
    this.box.prepend(...this.curves.map(({ element }) => element));
    place.append(this.box);
    scales.curves.push(...this.curves);
  }

  /** Takes what a piece of the answer says. */
  add({ turn_readouts: turns, token_readouts: tokens }) {
    if (turns) this.turns.textContent = `Prompt: ${turns.map(turnText).filter(Boolean).join("; ")}`;
    for (const token of tokens ?? []) {
      for (const curve of this.curves) curve.add(token);
    }
    if (tokens) this.scales.draw();
    if (this.table.open) this.#tabulate();
  }

  #tabulate() {
    if (!this.table.open) return;
    const rows = this.curves.flatMap(({ trait, points }) =>
      points.map(({ token, before, after, percentile }) => {
        const row = document.createElement("tr");
        const cells = [trait, token].map((text) => element("td", text));
        const numbers = [before, after, percentile].map((value) =>
          element("td", value === undefined ? "" : number(value, 1), "number"),
        );
        row.append(...cells, ...numbers);
        return row;
      }),
    );
    this.table.querySelector("tbody").replaceChildren(...rows);
  }
}

class Curve {
  constructor(trait, scales) {
    Object.assign(this, { trait, scales, points: [] });
    this.element = fromTemplate("curve-template");
    this.svg = this.element.querySelector("svg");
    this.value = this.element.querySelector(".value");
    this.element.querySelector(".trait-name").textContent = trait;
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.addEventListener("pointermove", ({ offsetX }) => this.#point(offsetX));
    this.svg.addEventListener("pointerleave", () => this.#tell(this.points.at(-1)));
  }

  add({ token, readouts }) {
    const blocks = Object.values(readouts[this.trait] ?? {});
    if (!blocks.length) return;
    const mean = (name) => blocks.reduce((sum, block) => sum + block[name], 0) / blocks.length;
    const [before, after] = [mean("before"), mean("after")];
    const percentile = "percentile" in blocks[0] ? mean("percentile") : undefined;
    this.points.push({ token, before, after, percentile });
    this.scales.take(this.trait, this.points.length - 1, before, after);
    this.#tell(this.points.at(-1));
  }

  draw() {
    const [low, high] = this.scales.extents[this.trait] ?? [0, 0];
    const x = (index) => (index / (this.scales.length - 1)) * WIDTH;
    const y = (value) => HEIGHT - 2 - ((value - low) / (high - low || 1)) * (HEIGHT - 4);
    const line = (name) =>
      make("polyline", {
        class: name,
        points: this.points.map((point, i) => `${x(i).toFixed(1)},${y(point[name]).toFixed(1)}`).join(" "),
      });
    const zero = make("line", { class: "zero", x1: 0, x2: WIDTH, y1: y(0), y2: y(0) });
    this.svg.replaceChildren(zero, line("before"), line("after"));
  }

  /** Tells of the token under the pointer. */
  #point(offset) {
    const index = Math.round((offset / this.svg.clientWidth) * (this.scales.length - 1));
    const point = this.points[Math.max(0, Math.min(index, this.points.length - 1))];
    this.#tell(point, point && `“${point.token}” `);
  }

  #tell(point, whose = "") {
    if (!point) return;
    const { before, after, percentile } = point;
    const share = percentile === undefined ? "" : `, p${number(percentile, 0)}`;
    this.value.textContent = `${whose}${number(before, 1)} → ${number(after, 1)}${share}`;
  }
}

/** The means of a turn of the prompt, by trait, in words. */
function turnText({ role, readouts }) {
  const means = Object.entries(readouts).flatMap(([trait, byBlock]) => {
    const values = Object.values(byBlock);
    if (!values.length) return [];
    const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
    return [`${trait} ${number(mean, 1)}`];
  });
  return means.length ? `${role} ${means.join(", ")}` : "";
}
