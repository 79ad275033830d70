// What the reader sees when a call fails.

import { ApiError, BROKEN_OFF, UNREACHABLE } from "./api.js";
import { fromTemplate } from "./format.js";

const TITLES = {
  [BROKEN_OFF]: "The answer was broken off.",
  [UNREACHABLE]: "The gateway cannot be reached.",
  400: "The request was refused.",
  401: "An API key is needed.",
  403: "This API key may not do that.",
  404: "Not found.",
  413: "The request is too large.",
  422: "The request is not valid.",
  429: "Too many requests.",
  500: "The model server failed.",
  503: "The model is not available right now.",
  504: "The model took too long.",
};

export class ErrorView {
  /** `enterKey` opens the field for the API key. */
  constructor(place, enterKey) {
    this.place = place;
    this.enterKey = enterKey;
  }

  clear() {
    clearInterval(this.timer);
    this.place.replaceChildren();
  }

  /** Shows an error; `retry` is what its button does, once the server's wait is over. */
  show(error, retry) {
    this.clear();
    if (!(error instanceof ApiError)) console.error(error);
    const box = fromTemplate("error-template");
    this.place.append(box);
    const { status } = error;
    box.querySelector("strong").textContent = TITLES[status] ?? "That did not work.";
    box.querySelector(".message").textContent = error.message;
    box.querySelector(".where").textContent = [
      status > 0 ? `HTTP ${status}` : "",
      error.code,
      error.requestId ? `request ${error.requestId}` : "",
    ].filter(Boolean).join(" · ");
    const key = box.querySelector(".enter-key");
    key.hidden = status !== 401 && status !== 403;
    key.addEventListener("click", this.enterKey);
    this.#offerRetry(box.querySelector(".again"), error.retryAfter ?? 0, retry);
  }

  #offerRetry(button, wait, retry) {
    let left = wait;
    const show = () => {
      button.disabled = left > 0;
      button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
      if (left <= 0) clearInterval(this.timer);
      left -= 1;
    };
    button.addEventListener("click", retry);
    this.timer = setInterval(show, 1000);
    show();
  }
}
