// One thing varied, a trait's scalar or a bound's value: a plot, and a table beside it.

import { readNumbers } from "./fields.js";
import { byId, count, element, number, signed } from "./format.js";
import { drawPlot, ticks } from "./plot.js";
import { readRequest } from "./request.js";
import { readPlaces } from "./steering.js";

const PATH = "api/v1/sweep";
const MOST = 32;
const STEPS = 8;
const PERCENTILES = [1, 5, 10, 25, 50, 75, 90, 99];

/** What the form asks for: all that is set above, but one thing varied. */
export function readSweep(sliders, form) {
  const kind = byId("sweep-kind").value;
  const trait = byId("sweep-trait").value;
  const values = readNumbers(byId("sweep-values"), MOST);
  const body = { ...readRequest(), scores: true };
  const places = readPlaces();
  const rest = form.read();
  const traits = sliders.chosen();
  if (kind === "scalar") {
    Object.assign(body, { trait, scalars: values, ...places });
    // The sweep takes the place of the trait's own slider.
    rest.traits = traits.filter(({ name }) => name !== trait);
  } else {
    Object.assign(body, { operation: { trait, kind, unit: byId("sweep-unit").value }, values });
    rest.traits = traits;
  }
  if (!rest.traits.length) delete rest.traits;
  else Object.assign(rest, places);
  if (Object.keys(rest).length) body.steering = rest;
  return body;
}

/** Puts values into the form that suit what is varied: round ones, and 0 among them. */
export function fitSweep(traits) {
  const kind = byId("sweep-kind").value;
  const trait = traits[byId("sweep-trait").value] ?? {};
  byId("sweep-values").value = suitable(kind, byId("sweep-unit").value, trait).join(", ");
  showUnit();
}

/** Scalars have no unit. */
export function showUnit() {
  byId("sweep-unit").closest(".field").hidden = byId("sweep-kind").value === "scalar";
}

/** Returns the scalars that do as much as asking in the system prompt, or what is recommended. */
export function usualScalars({ unit_scale: scale, recommended_range: range }) {
  const round = (scalar) => Number(scalar.toPrecision(3));
  return scale ? [round(-scale.negative), round(scale.positive)] : (range ?? [-2, 2]);
}

function suitable(kind, unit, trait) {
  const { selected_layers: layers, calibration } = trait;
  if (kind === "scalar") return ticks(...usualScalars(trait), STEPS);
  if (unit === "percentile") return PERCENTILES;
  const { negative, positive } = calibration?.answer_means?.[layers?.[0]] ?? {};
  return negative < positive ? ticks(negative, positive, STEPS) : [0];
}

/** The plot and the table of a sweep. */
export class SweepView {
  constructor() {
    this.place = byId("sweep-result");
    this.plot = byId("plot");
    this.rows = byId("sweep-rows");
    this.answers = [];
    new ResizeObserver(() => this.draw()).observe(this.plot.parentElement);
  }

  /** Begins a sweep; `trait` is what the server says about the trait. */
  begin(body, trait) {
    this.body = body;
    this.trait = trait ?? {};
    this.values = body.scalars ?? body.values;
    const { kind = "scalar", unit } = body.operation ?? {};
    this.varied = kind;
    this.name = `${kind} of ${body.trait ?? body.operation.trait}`;
    this.axis = unit === "percentile" ? `${kind}, percentile` : kind;
    this.answers = this.values.map(() => null);
    this.place.hidden = false;
    byId("sweep-caption").textContent = `Answers by ${this.name}`;
    byId("sweep-varied").textContent = this.axis;
    this.rows.replaceChildren(...this.values.map((value, index) => this.#row(value, index)));
    this.draw();
  }

  add(answer) {
    this.answers[answer.index] = answer;
    const [, score, tokens, text] = this.rows.children[answer.index].children;
    score.textContent = answer.score === null ? "none" : number(answer.score);
    tokens.textContent = answer.tokens_generated;
    text.textContent = answer.success ? answer.response : `Failed: ${answer.error}`;
    this.draw();
  }

  /** Says in the table that the rest will not come. */
  breakOff(why) {
    this.place.hidden = this.answers.every((answer) => answer === null);
    this.answers.forEach((answer, index) => {
      if (!answer) this.rows.children[index].lastElementChild.textContent = why;
    });
  }

  draw() {
    if (!this.body || this.place.hidden) return;
    const points = this.answers
      .filter((answer) => answer && typeof answer.score === "number")
      .map(({ index, score }) => ({ index, score, value: this.values[index] }))
      .sort((one, other) => one.value - other.value);
    const range = (this.varied === "scalar" && this.trait.recommended_range) || null;
    const added = this.#added(points);
    byId("key-added").hidden = added === null;
    byId("key-range").hidden = range === null;
    drawPlot(this.plot, {
      points,
      added,
      range,
      ends: [Math.min(...this.values), Math.max(...this.values)],
      axis: this.axis,
      title: `Score by ${this.name}`,
      text: this.#description(points),
      onHover: (index) => this.#highlight(index),
    });
  }

  /** The line that steering alone would give: the score at 0 and scalar times norm. */
  #added(points) {
    const { selected_layers: layers = [], norms = {} } = this.trait;
    const baseline = points.find(({ value }) => value === 0);
    const { positions, steering, layers: chosen } = this.body;
    // Blocks after the first also see what the ones before have added, and only what is
    // generated is scored.
    const adds = layers.length === 1 && positions !== "prompt" && !steering && !chosen;
    if (this.varied !== "scalar" || !baseline || !adds) return null;
    return { base: baseline.score, slope: norms[layers[0]] ?? 0 };
  }

  /** The answers as rows of a table. */
  get table() {
    return this.values.map((value, index) => {
      const { score, tokens_generated, finish_reason, response } = this.answers[index] ?? {};
      const { prompt, system_prompt, steering, layers, positions, operation } = this.body;
      const asked = { prompt, system_prompt, steering, layers, positions };
      const varied = { varied: this.name, unit: operation?.unit, value };
      const answer = { score, tokens: tokens_generated, finish_reason, response };
      return { ...asked, ...varied, ...answer, ...this.origin };
    });
  }

  #row(value, index) {
    const row = document.createElement("tr");
    const head = element("th", this.#text(value), "number");
    head.scope = "row";
    row.append(head, element("td", "", "number"), element("td", "", "number"), element("td", "…"));
    row.addEventListener("pointerenter", () => this.#highlight(index));
    row.addEventListener("pointerleave", () => this.#highlight(null));
    return row;
  }

  #highlight(index) {
    [...this.rows.children].forEach((row, i) => row.classList.toggle("marked", i === index));
    for (const dot of this.plot.querySelectorAll(".dot")) {
      dot.classList.toggle("marked", dot.dataset.index === String(index));
    }
  }

  #description(points) {
    if (points.length < 2) return "No scores yet.";
    const at = ({ value, score }) => `${number(score)} at ${this.#text(value)}`;
    const ordered = [...points].sort((a, b) => a.score - b.score);
    return (
      `${at(points[0])} to ${at(points.at(-1))}; least ${at(ordered[0])}, ` +
      `greatest ${at(ordered.at(-1))}. The table has all values.`
    );
  }

  #text(value) {
    return this.varied === "scalar" ? signed(value, 4) : number(value, 4);
  }
}

/** Runs a sweep into a view. */
export async function sweep(run, view, curl, body, trait) {
  view.begin(body, trait);
  curl.replaceChildren();
  const answers = count(view.values.length, "answer");
  run.say(`Writing ${answers} …`);
  view.origin = await run.go(PATH, body, curl, {
    hear: (event, data) => event === "answer" && view.add(data),
    written: () => answers,
    ended: (why) => view.breakOff(why ?? "missing"),
  });
}
