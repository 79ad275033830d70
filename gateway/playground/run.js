// Something that runs until it ends or is stopped, with its buttons, its status and its errors.

import { ApiError, streamEvents } from "./api.js";
import { showCurl } from "./curl.js";
import { ErrorView } from "./errors.js";
import { clearNotes, showAt } from "./fields.js";
import { number } from "./format.js";

export class Run {
  /**
   * `name` is what the ids of its elements begin with; `fieldAt` finds the field that a refusal is
   * about, if there is one.
   */
  constructor(name, enterKey, fieldAt) {
    this.fieldAt = fieldAt;
    const part = (suffix) => document.getElementById(`${name}-${suffix}`);
    this.start = part("run");
    this.stopButton = part("stop");
    this.status = part("status");
    this.errors = new ErrorView(part("error"), enterKey);
    this.stopButton.addEventListener("click", () => this.stop());
  }

  get running() {
    return this.start.hidden;
  }

  stop() {
    this.controller?.abort();
  }

  /**
   * Sends a request, shows it in `curl`, and gives `hear` each event's name and data.
   *
   * `written` says in the end what was written; `ended` is called in any case, with why it ended
   * early or null. Returns what the answers were made with, the seed among it, or null.
   */
  async go(path, body, curl, { hear, written, ended }) {
    if (this.running) return null;
    this.controller = new AbortController();
    this.errors.clear();
    clearNotes();
    this.#show(true);
    let origin = null;
    try {
      const began = performance.now();
      showCurl(curl, path, body);
      for await (const { event, data } of streamEvents(path, body, this.controller.signal)) {
        if (event === "done") origin = originOf(data);
        else hear(event, data);
      }
      const { seed } = origin;
      showCurl(curl, path, { ...body, seed });
      const seconds = number((performance.now() - began) / 1000, 1);
      this.say(`${written()} in ${seconds} s, seed ${seed}`);
      ended(null);
    } catch (error) {
      const stopped = this.controller.signal.aborted;
      ended(stopped ? "stopped" : "broken off");
      this.say(stopped ? "Stopped." : "Failed.");
      if (!stopped) this.#tell(error);
    } finally {
      this.#show(false);
    }
    return origin;
  }

  #tell(error) {
    const field = error instanceof ApiError ? this.fieldAt(error.message) : null;
    if (field) showAt(field, error.message);
    else this.errors.show(error, () => this.start.click());
  }

  say(text) {
    this.status.textContent = text;
  }

  /** Swaps the buttons; the focus stays where they are. */
  #show(running) {
    const hidden = running ? this.start : this.stopButton;
    const shown = running ? this.stopButton : this.start;
    const focused = document.activeElement === hidden;
    shown.hidden = false;
    hidden.hidden = true;
    if (focused) shown.focus();
  }
}

function originOf({ seed, model, weights_sha256, vectors }) {
  return { seed, model, weights_sha256, vectors };
}
