// Rows of fields that are added and removed.

import { element, fromTemplate } from "./format.js";

let numRows = 0;

export class Rows {
  /** `template` is the id of a row's; its fields are named by `data-field`. `button` adds one. */
  constructor(container, template, button) {
    Object.assign(this, { container, template, button });
    button.addEventListener("click", () => this.add().querySelector("[data-field]").focus());
  }

  /** The fields of each row by name. */
  get fields() {
    return [...this.container.children].map(fieldsOf);
  }

  /** What is in the fields of each row, unless they are empty. */
  get values() {
    return this.fields.map((row) =>
      Object.fromEntries(
        Object.entries(row).flatMap(([name, { value }]) => (value ? [[name, value]] : [])),
      ),
    );
  }

  set values(rows) {
    this.container.replaceChildren();
    for (const row of rows) this.add(row);
  }

  add(values = {}) {
    const row = fromTemplate(this.template);
    numRows += 1;
    for (const [name, input] of Object.entries(fieldsOf(row))) {
      input.id = `${this.container.id}-${numRows}-${name}`;
      input.previousElementSibling.htmlFor = input.id;
      if (name in Object(values)) input.value = values[name];
    }
    const remove = element("button", "Remove", "quiet");
    remove.type = "button";
    remove.addEventListener("click", () => {
      row.remove();
      this.button.focus();
    });
    row.append(remove);
    this.container.append(row);
    return row;
  }
}

export function fieldsOf(box) {
  return Object.fromEntries(
    [...box.querySelectorAll("[data-field]")].map((input) => [input.dataset.field, input]),
  );
}
