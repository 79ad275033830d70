// The baseline and the steered answers, side by side.

import { AnswerCard } from "./answers.js";
import { InputError } from "./fields.js";
import { count } from "./format.js";
import { readWatched, Scales } from "./readouts.js";
import { readRequest } from "./request.js";
import { readPlaces, titleOf } from "./steering.js";

const PATH = "api/v1/compare";

/** What the form asks for. */
export function readComparison(sliders, form, withOpposite) {
  const traits = sliders.chosen();
  const rest = { ...readPlaces(), ...form.read() };
  if (!traits.length && !rest.operations && !rest.limits) {
    const message = "Move a trait’s slider, or add a bound or a limit: all answers would be the same.";
    throw new InputError(message, sliders.first);
  }
  const opposite = traits.map(({ name, scalar }) => ({ name, scalar: -scalar }));
  const steerings = withOpposite ? [opposite, traits] : [traits];
  return {
    ...readRequest(),
    ...readWatched({ traits, ...rest }),
    steerings: steerings.map((each) => ({ traits: each, ...rest })),
  };
}

/** The answers of one comparison after the other. */
export class ComparisonView {
  constructor(place) {
    this.place = place;
    this.cards = new Map();
  }

  /** Runs a comparison. */
  async show(run, curl, body) {
    const cards = new Map();
    const labels = ["baseline", ...body.steerings.map(titleOf)];
    const [watched, scales] = [body.monitor ?? [], new Scales()];
    labels.forEach((label, index) => {
      cards.set(index, new AnswerCard(label, index > 0, watched, scales));
    });
    this.cards = cards;
    this.body = body;
    // Between its opposites stands the baseline, as on a scale.
    const order = cards.size === 3 ? [1, 0, 2] : [...cards.keys()];
    this.place.replaceChildren(...order.map((index) => cards.get(index).element));
    curl.replaceChildren();
    // On a narrow screen the answers are below all sliders.
    if (this.place.getBoundingClientRect().top > innerHeight) this.place.scrollIntoView();
    run.say(`Writing ${count(cards.size, "answer")} …`);

    const hear = (event, data) => {
      if (event === "chunk") cards.get(data.index).add(data);
      else if (event === "answer") cards.get(data.index).finish(data);
    };
    const tokens = () => [...cards.values()].reduce((sum, card) => sum + card.tokens, 0);
    const ended = (why) => {
      for (const card of cards.values()) card.breakOff(why ?? "");
      if (why === "broken off" && tokens() === 0) this.place.replaceChildren();
    };
    this.origin = await run.go(PATH, body, curl, {
      hear, ended, written: () => count(tokens(), "token"),
    });
  }

  /** The answers as rows of a table. */
  get rows() {
    return [...this.cards.values()].map(({ label, result }, index) => ({
      prompt: this.body.prompt,
      system_prompt: this.body.system_prompt,
      answer: label,
      steering: index ? this.body.steerings[index - 1] : null,
      tokens: result?.tokens_generated,
      finish_reason: result?.finish_reason,
      response: result?.response,
      ...this.origin,
    }));
  }
}
