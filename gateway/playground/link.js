// The page's address carries what is in the form, so that a link to it, or a reload, has it again.
//
// It stands behind the #, which browsers send to nobody. The API key is in a form of its own.

import { byId } from "./format.js";

const FIELDS = "#request :is(input, select, textarea)[id], #sweep :is(input, select, textarea)[id]";
const OF_ITS_OWN = "#traits, .rows";
const DELAY_MS = 250;

/** Whether what stands behind the # is a form's content, and not a place in the page. */
export function isLink(hash) {
  return new URLSearchParams(hash.slice(1)).has("traits");
}

/** Keeps the address as the form is. */
export class Link {
  constructor(sliders, rows) {
    this.sliders = sliders;
    this.rows = rows;
    this.parameters = new URLSearchParams(location.hash.slice(1));
    /** Whether the page came with one. */
    this.given = isLink(location.hash);
  }

  /** Fills the form, which needs the traits first. */
  restore() {
    for (const field of fields()) {
      const value = this.parameters.get(field.id) ?? usualOf(field);
      if (field.type === "checkbox") field.checked = value === "true";
      else field.value = value;
    }
    for (const [trait, scalar] of Object.entries(this.#json("traits", {}))) {
      this.sliders.set(trait, Number(scalar));
    }
    for (const [name, rows] of Object.entries(this.rows)) rows.values = this.#json(name, []);
  }

  /** From now on the address follows the form. */
  follow() {
    let timer;
    for (const type of ["input", "change", "click"]) {
      addEventListener(type, () => {
        clearTimeout(timer);
        timer = setTimeout(() => this.save(), DELAY_MS);
      });
    }
    addEventListener("pagehide", () => this.save());
    this.save();
  }

  save() {
    const parameters = new URLSearchParams();
    for (const field of fields()) {
      const value = field.type === "checkbox" ? String(field.checked) : field.value;
      if (value !== usualOf(field)) parameters.set(field.id, value);
    }
    const scalars = this.sliders.chosen().map(({ name, scalar }) => [name, scalar]);
    parameters.set("traits", JSON.stringify(Object.fromEntries(scalars)));
    for (const [name, { values }] of Object.entries(this.rows)) {
      if (values.length) parameters.set(name, JSON.stringify(values));
    }
    const hash = `#${parameters}`;
    if (hash !== location.hash) history.replaceState(null, "", hash);
  }

  /** What JSON a parameter has; of a damaged link, `otherwise`. */
  #json(name, otherwise) {
    try {
      const value = JSON.parse(this.parameters.get(name) ?? "null");
      return Array.isArray(value) === Array.isArray(otherwise) ? (value ?? otherwise) : otherwise;
    } catch {
      return otherwise;
    }
  }
}

function fields() {
  return [...document.querySelectorAll(FIELDS)].filter((field) => !field.closest(OF_ITS_OWN));
}

/** What a field has in a page that was just loaded. */
function usualOf(field) {
  if (field.type === "checkbox") return String(field.defaultChecked);
  if (field.tagName !== "SELECT") return field.defaultValue;
  return ([...field.options].find((option) => option.defaultSelected) ?? field.options[0])?.value ?? "";
}
