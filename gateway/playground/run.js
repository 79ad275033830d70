// Something that runs until it ends or is stopped, with its buttons, its status and its errors.

import { ErrorView } from "./errors.js";

export class Run {
  /** `name` is what the ids of its elements begin with. */
  constructor(name, enterKey) {
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
   * Does the work, which gets a signal to be stopped by and returns the closing status.
   * `ended` is called in any case, with why it ended early or null.
   */
  async go(work, ended) {
    if (this.running) return;
    this.controller = new AbortController();
    this.errors.clear();
    this.#show(true);
    try {
      this.say(await work(this.controller.signal));
      ended(null);
    } catch (error) {
      const stopped = this.controller.signal.aborted;
      ended(stopped ? "stopped" : "broken off");
      this.say(stopped ? "Stopped." : "Failed.");
      if (!stopped) this.errors.show(error, () => this.start.click());
    } finally {
      this.#show(false);
    }
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
