// Answers as cards that fill while the model writes.

import { count, fillList, fromTemplate, number } from "./format.js";
import { Readouts } from "./readouts.js";
import { titleOf, threshold } from "./steering.js";

export class AnswerCard {
  /** `watched` are traits whose curves are drawn, on the `scales` of all answers. */
  constructor(label, steered, watched, scales) {
    this.label = label;
    this.tokens = 0;
    this.result = null;
    this.element = fromTemplate("answer-template");
    this.facts = this.element.querySelector(".facts");
    this.element.querySelector("h3").textContent = label;
    this.text = document.createTextNode("");
    this.element.querySelector(".text").append(this.text);
    this.element.setAttribute("aria-busy", "true");
    this.element.classList.add("running");
    this.element.classList.toggle("steered", steered);
    if (watched.length) this.readouts = new Readouts(this.element, watched, scales);
  }

  add({ text, tokens_generated: tokens, ...read }) {
    this.text.appendData(text);
    this.readouts?.add(read);
    this.tokens = tokens;
    this.last = performance.now();
    this.first ??= this.last;
    this.firstTokens ??= tokens;
    this.facts.textContent = this.#facts();
  }

  /** Shows the answer as it ended. */
  finish(result) {
    this.result = result;
    this.tokens = result.tokens_generated;
    this.text.data = result.response;
    const notes = [...(result.limits_reached ?? []).map(reached), ...(result.warnings ?? [])];
    fillList(this.element.querySelector(".warnings"), notes);
    if (!result.success) this.#fail(result.error);
    this.#end(result.finish_reason);
    if (result.enforced) this.facts.textContent += ` · enforced: ${titleOf(result.enforced)}`;
    if (result.prompt_tokens) {
      const reused = result.reused_tokens ? `, ${result.reused_tokens} reused` : "";
      this.facts.textContent += ` · prompt ${result.prompt_tokens}${reused}`;
    }
    if (result.condition) {
      const { met, tokens } = result.condition;
      this.facts.textContent += ` · condition met at ${met} of ${count(tokens, "token")}`;
    }
  }

  /** Shows that the answer was broken off, if it had not ended. */
  breakOff(reason) {
    if (!this.result) this.#end(reason);
  }

  #fail(message) {
    const error = this.element.querySelector(".answer-error");
    error.textContent = message;
    error.hidden = false;
  }

  #end(reason) {
    this.element.classList.remove("running");
    this.element.setAttribute("aria-busy", "false");
    this.facts.textContent = [this.#facts(), reason].filter(Boolean).join(" · ");
  }

  #facts() {
    const facts = [count(this.tokens, "token")];
    // From the first chunk on: neither the queue nor the prompt is in it.
    const seconds = (this.last - this.first) / 1000;
    const later = this.tokens - this.firstTokens;
    if (later > 0 && seconds > 0.02) facts.push(`${number(later / seconds, 0)} tokens/s`);
    return facts.join(" · ");
  }
}

/** A limit that an answer has reached, in words. */
function reached(limit) {
  const { token, projection, enforced } = limit;
  const whose = enforced ? ", which the server enforces" : "";
  return `Token ${token} reached the limit ${threshold(limit)}${whose}: ${number(projection)}.`;
}
