// Numbers and lists as people read them.

const MINUS = "−";

export const byId = (id) => document.getElementById(id);

/** A number with a real minus sign, and at most so many decimals. */
export function number(value, decimals = 2) {
  return String(Number(value.toFixed(decimals))).replace("-", MINUS);
}

/** The same with a plus sign if it is positive. */
export function signed(value, decimals = 2) {
  return (value > 0 ? "+" : "") + number(value, decimals);
}

/** `1 token`, `2 tokens`. */
export function count(amount, noun) {
  return `${amount} ${noun}${amount === 1 ? "" : "s"}`;
}

/** Fills a list with sentences, and hides it if there are none. */
export function fillList(list, sentences) {
  list.replaceChildren(...sentences.map((sentence) => element("li", sentence)));
  list.hidden = sentences.length === 0;
}

/** An element with text in it: the only way that text gets into this page. */
export function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** A copy of a template's only element. */
export function fromTemplate(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}
