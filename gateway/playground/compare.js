// The baseline and the steered answers, side by side.

import { streamEvents } from "./api.js";
import { AnswerCard } from "./answers.js";
import { showCurl } from "./curl.js";
import { count, number, signed } from "./format.js";
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

  let seed = null;
  const work = async (signal) => {
    const began = performance.now();
    showCurl(curl, PATH, body);
    for await (const { event, data } of streamEvents(PATH, body, signal)) {
      if (event === "chunk") cards.get(data.index).add(data);
      else if (event === "answer") cards.get(data.index).finish(data);
      else if (event === "done") seed = data.seed;
    }
    showCurl(curl, PATH, { ...body, seed });
    return closing([...cards.values()], seed, began);
  };
  const ended = (why) => {
    for (const card of cards.values()) card.breakOff(why ?? "");
    if (why === "broken off" && [...cards.values()].every((card) => card.tokens === 0)) {
      place.replaceChildren();
    }
  };
  await run.go(work, ended);
  return seed;
}

function closing(cards, seed, began) {
  const tokens = cards.reduce((sum, card) => sum + card.tokens, 0);
  const seconds = (performance.now() - began) / 1000;
  return `${count(tokens, "token")} in ${number(seconds, 1)} s, seed ${seed}`;
}

function labelOf(traits) {
  return traits.map(({ name, scalar }) => `${name} ${signed(scalar, 4)}`).join(", ");
}
