// Reading the form's fields, and telling of one that cannot be used right beside it.

import { element } from "./format.js";

const LARGEST_LAYER = 1023;

/** A field that cannot be used as it is; `input` is where to correct it. */
export class InputError extends Error {
  constructor(message, input) {
    super(message);
    this.input = input;
  }
}

/** Says under a field what is wrong with it, and focuses it. */
export function showAt(input, message) {
  const note = element("p", message, "field-error");
  note.id = `${input.id}-error`;
  note.setAttribute("role", "alert");
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-errormessage", note.id);
  for (let box = input.closest("details"); box; box = box.parentElement.closest("details")) {
    box.open = true;
  }
  input.after(note);
  input.focus();
}

/** Takes back all that `showAt` has said. */
export function clearNotes() {
  for (const note of document.querySelectorAll(".field-error")) note.remove();
  for (const input of document.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-errormessage");
  }
}

/** The number in a field, or null if it is empty: then the server's default holds. */
export function readNumber(input) {
  if (input.value === "" && !input.validity.badInput) return null;
  const { badInput, rangeUnderflow, rangeOverflow, stepMismatch } = input.validity;
  const wholes = input.step === "1" && stepMismatch;
  if (badInput || rangeUnderflow || rangeOverflow || wholes) {
    const kind = input.step === "1" ? "a whole number" : "a number";
    const limits = [input.min && `from ${input.min}`, input.max && `to ${input.max}`];
    const words = [nameOf(input), "must be", kind, ...limits];
    throw new InputError(`${words.filter(Boolean).join(" ")}.`, input);
  }
  return Number(input.value);
}

/** The same of a field that must not be empty. */
export function requireNumber(input) {
  const value = readNumber(input);
  if (value === null) throw new InputError(`${nameOf(input)} must be a number.`, input);
  return value;
}

/** Numbers with commas between them. */
export function readNumbers(input, most) {
  const parts = input.value.replaceAll("−", "-").split(",").map((part) => part.trim());
  const numbers = parts.filter(Boolean).map(Number);
  if (!numbers.length || numbers.length > most || !numbers.every(Number.isFinite)) {
    const message = `${nameOf(input)} must be 1 to ${most} numbers with commas between them.`;
    throw new InputError(message, input);
  }
  return numbers;
}

/** Decoder blocks, such as `1` or `12-16, 20`, or null if the field is empty. */
export function readLayers(input) {
  const layers = input.value.split(",").filter((part) => part.trim()).flatMap((part) => {
    const [, first, last = first] = /^\s*(\d{1,4})(?:\s*[-–]\s*(\d{1,4}))?\s*$/.exec(part) ?? [];
    const [low, high] = [Number(first), Number(last)];
    if (!(low <= high && high <= LARGEST_LAYER)) {
      throw new InputError(`${nameOf(input)} must be blocks from 0, such as 1 or 12-16, 20.`, input);
    }
    return Array.from({ length: high - low + 1 }, (_, i) => low + i);
  });
  return layers.length ? layers : null;
}

function nameOf(input) {
  return input.labels[0].textContent;
}
