// One trait at several strengths: a plot, and a table beside it.

import { byId, count, element, number, signed } from "./format.js";
import { drawPlot } from "./plot.js";
import { InputError, readNumber, readPositions, readRequest } from "./request.js";

const PATH = "api/v1/sweep";

/** What the form asks for. */
export function readSweep() {
  const from = readNumber("sweep-from", "From");
  const to = readNumber("sweep-to", "To");
  const points = readNumber("sweep-points", "Points");
  if (from === null) throw new InputError("From must be a number.", byId("sweep-from"));
  if (to === null || to <= from) {
    throw new InputError("To must be greater than From.", byId("sweep-to"));
  }
  if (points === null) throw new InputError("Points must be a number.", byId("sweep-points"));
  const step = (to - from) / (points - 1);
  const scalars = Array.from({ length: points }, (_, i) => Number((from + i * step).toFixed(6)));
  return {
    ...readRequest(),
    trait: byId("sweep-trait").value,
    scalars,
    ...readPositions(),
    scores: true,
  };
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
    this.answers = body.scalars.map(() => null);
    this.place.hidden = false;
    byId("sweep-caption").textContent = `Answers by scalar of ${body.trait}`;
    this.rows.replaceChildren(...body.scalars.map((scalar, index) => this.#row(scalar, index)));
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
      .map(({ index, score }) => ({ index, score, scalar: this.body.scalars[index] }));
    const range = this.trait.recommended_range ?? null;
    const added = this.#added(points);
    byId("key-added").hidden = added === null;
    byId("key-range").hidden = range === null;
    drawPlot(this.plot, {
      points,
      added,
      range,
      scalars: this.body.scalars,
      title: `Score by scalar of ${this.body.trait}`,
      text: description(points),
      onHover: (index) => this.#highlight(index),
    });
  }

  /** The line that steering alone would give: the score at 0 and scalar times norm. */
  #added(points) {
    const { selected_layers: layers = [], norms = {} } = this.trait;
    const baseline = points.find(({ scalar }) => scalar === 0);
    // Blocks after the first also see what the ones before have added, and only what is
    // generated is scored.
    if (!baseline || layers.length !== 1 || this.body.positions === "prompt") return null;
    return { base: baseline.score, slope: norms[layers[0]] ?? 0 };
  }

  #row(scalar, index) {
    const row = document.createElement("tr");
    const head = element("th", signed(scalar, 4), "number");
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
}

/** Runs a sweep into a view. */
export function sweep(run, view, curl, body, trait) {
  view.begin(body, trait);
  curl.replaceChildren();
  const answers = count(body.scalars.length, "answer");
  run.say(`Writing ${answers} …`);
  return run.go(PATH, body, curl, {
    hear: (event, data) => event === "answer" && view.add(data),
    written: () => answers,
    ended: (why) => view.breakOff(why ?? "missing"),
  });
}

function description(points) {
  if (points.length < 2) return "No scores yet.";
  const at = ({ scalar, score }) => `${number(score)} at ${signed(scalar, 4)}`;
  const ordered = [...points].sort((a, b) => a.score - b.score);
  return (
    `${at(points[0])} to ${at(points.at(-1))}; least ${at(ordered[0])}, ` +
    `greatest ${at(ordered.at(-1))}. The table has all values.`
  );
}
