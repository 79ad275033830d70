// What to steer by besides the sliders: bounds, a condition, a window, limits, and where.

import { InputError, readLayers, readNumber, requireNumber } from "./fields.js";
import { byId, count, signed } from "./format.js";
import { fieldsOf, Rows } from "./rows.js";

const PLACE = /\bsteerings?(?:\.\d+)?\.(operations|when|window|limits)(?:[[.](\d+)\]?)?(?:\.(\w+))?/;

/** Which field of a part is meant where none is named that is there. */
const MEANT = { operations: "value", when: "layer", window: "to", limits: "value" };

export class SteeringForm {
  constructor() {
    this.operations = new Rows(byId("operations"), "operation-template", byId("operation-add"));
    this.limits = new Rows(byId("limits"), "limit-template", byId("limit-add"));
    this.when = fieldsOf(byId("when"));
    this.window = fieldsOf(byId("window"));
  }

  /** Its rows by name. */
  get rows() {
    return { operations: this.operations, limits: this.limits };
  }

  /** What the form asks for, besides what to add. */
  read() {
    const steering = {};
    const operations = this.operations.fields.map(readOperation);
    if (operations.length) steering.operations = operations;
    if (this.when.trait.value) steering.when = readCondition(this.when);
    const { from, to, fade } = this.window;
    const window = filled({ from: readNumber(from), to: readNumber(to), fade: readNumber(fade) });
    if (Object.keys(window).length) steering.window = window;
    const limits = this.limits.fields.map(readLimit);
    if (limits.length) steering.limits = limits;
    return steering;
  }

  /** How many parts of it are in use, in words. */
  get summary() {
    const [bounds, limits] = [this.operations, this.limits].map(({ fields }) => fields.length);
    return [
      bounds && count(bounds, "bound"),
      this.when.trait.value && "a condition",
      Object.values(this.window).some(({ value }) => value) && "a window",
      limits && count(limits, "limit"),
    ].filter(Boolean).join(", ");
  }

  /** The field that a refusal is about, such as that of `steering.operations[1].value`, or null. */
  fieldAt(message) {
    const [, part, index, name] = PLACE.exec(message) ?? [];
    const fields = this.rows[part]?.fields[index] ?? this[part];
    return fields?.[name] ?? fields?.[MEANT[part]] ?? null;
  }
}

/** The layers and positions of what the sliders add. */
export function readPlaces() {
  const layers = readLayers(byId("layers"));
  return filled({ layers, positions: byId("positions").value });
}

/** A steering in words, as the server has it. */
export function titleOf({ traits = [], operations = [], when, window, limits = [] }) {
  const words = traits.map(({ name, scalar }) => `${name} ${signed(scalar, 4)}`);
  for (const { kind, trait, value, unit } of operations) {
    words.push(value === undefined ? `${kind} ${trait}` : `${kind} ${trait} ${bound(value, unit)}`);
  }
  if (when) words.push(`when ${threshold(when)}`);
  if (window) words.push(`from ${window.from ?? 0}${"to" in window ? ` to ${window.to}` : ""}`);
  for (const { over = 1, action = "stop", ...limit } of limits) {
    words.push(`${action} at ${threshold(limit)}${over > 1 ? ` for ${over} tokens` : ""}`);
  }
  return words.join(", ");
}

function readOperation({ kind, trait, value, unit, strength, layers }) {
  const ablates = kind.value === "ablate";
  if (ablates && value.value) {
    throw new InputError("Value must be empty: ablate removes all of it.", value);
  }
  return filled({
    trait: trait.value,
    kind: kind.value,
    value: ablates ? null : readBound(value, unit),
    unit: ablates ? null : unit.value,
    strength: readNumber(strength),
    layers: readLayers(layers),
  });
}

function readCondition({ trait, side, value, unit, layer }) {
  return filled({
    trait: trait.value,
    [side.value]: readBound(value, unit),
    unit: unit.value,
    layer: readNumber(layer),
  });
}

function readLimit({ over, action, ...threshold }) {
  return filled({ ...readCondition(threshold), over: readNumber(over), action: action.value });
}

function readBound(value, unit) {
  const bound = requireNumber(value);
  if (unit.value === "percentile" && (bound < 0 || bound > 100)) {
    throw new InputError("A percentile must be from 0 to 100.", value);
  }
  return bound;
}

/** A trait and its bound, of a condition, a limit, or a limit that was reached. */
export function threshold({ trait, above, below, unit }) {
  const [side, value] = above === undefined ? ["below", below] : ["above", above];
  return `${trait} ${side} ${bound(value, unit)}`;
}

function bound(value, unit) {
  return unit === "percentile" ? `p${value}` : String(value);
}

/** The same without what is null. */
function filled(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
}
