// The baseline and the steered answers, side by side.

import { AnswerCard } from "./answers.js";
import { count, signed } from "./format.js";
import { InputError, readPositions, readRequest } from "./request.js";

const PATH = "api/v1/compare";

/** What the form asks for. */
export function readComparison(traits, withOpposite) {
  const chosen = traits.chosen();
  if (!chosen.length) {
    throw new InputError("Move a trait’s slider: at 0 both answers would be the same.", traits);
  }
  const opposite = chosen.map(({ name, scalar }) => ({ name, scalar: -scalar }));
  return {
    ...readRequest(),
    steerings: (withOpposite ? [opposite, chosen] : [chosen]).map((each) => ({
      traits: each,
      ...readPositions(),
    })),
  };
}

/** Runs a comparison, whose answers appear in `place`, and returns their seed, or null. */
export async function compare(run, place, curl, body) {
  const cards = new Map();
  const labels = ["baseline", ...body.steerings.map(({ traits }) => labelOf(traits))];
  labels.forEach((label, index) => cards.set(index, new AnswerCard(label, index > 0)));
  // Between its opposites stands the baseline, as on a scale.
  const order = cards.size === 3 ? [1, 0, 2] : [...cards.keys()];
  place.replaceChildren(...order.map((index) => cards.get(index).element));
  curl.replaceChildren();
  // On a narrow screen the answers are below all sliders.
  if (place.getBoundingClientRect().top > innerHeight) place.scrollIntoView();
  run.say(`Writing ${count(cards.size, "answer")} …`);

  const hear = (event, data) => {
    if (event === "chunk") cards.get(data.index).add(data);
    else if (event === "answer") cards.get(data.index).finish(data);
  };
  const tokens = () => [...cards.values()].reduce((sum, card) => sum + card.tokens, 0);
  const ended = (why) => {
    for (const card of cards.values()) card.breakOff(why ?? "");
    if (why === "broken off" && tokens() === 0) place.replaceChildren();
  };
  return run.go(PATH, body, curl, { hear, ended, written: () => count(tokens(), "token") });
}

function labelOf(traits) {
  return traits.map(({ name, scalar }) => `${name} ${signed(scalar, 4)}`).join(", ");
}
