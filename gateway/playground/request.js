// The fields that every call shares: the prompt, and how to choose tokens.

import { byId } from "./format.js";

/** A field that cannot be used as it is; `input` is where to correct it. */
export class InputError extends Error {
  constructor(message, input) {
    super(message);
    this.input = input;
  }
}

/** The prompt and the sampling as a request's fields. */
export function readRequest() {
  const prompt = byId("prompt");
  if (!prompt.value.trim()) throw new InputError("Type a prompt first.", prompt);
  const body = { prompt: prompt.value };
  const system = byId("system").value;
  if (system.trim()) body.system_prompt = system;
  const maxTokens = readNumber("max-tokens", "Max tokens");
  const temperature = readNumber("temperature", "Temperature");
  const seed = readSeed(byId("seed"));
  if (maxTokens !== null) body.max_tokens = maxTokens;
  if (temperature !== null) body.temperature = temperature;
  if (seed !== null) body.seed = seed;
  return body;
}

/** Which tokens to steer, as a steering's fields. */
export function readPositions() {
  return { positions: byId("positions").value };
}

/** The number in a field, or null if it is empty: then the server's default holds. */
export function readNumber(id, name) {
  const input = byId(id);
  if (input.value === "" && !input.validity.badInput) return null;
  const { badInput, rangeUnderflow, rangeOverflow, stepMismatch } = input.validity;
  const wholes = input.step === "1" && stepMismatch;
  if (badInput || rangeUnderflow || rangeOverflow || wholes) {
    const kind = input.step === "1" ? "a whole number" : "a number";
    const limits = [input.min && `from ${input.min}`, input.max && `to ${input.max}`];
    throw new InputError([name, "must be", kind, ...limits].filter(Boolean).join(" ") + ".", input);
  }
  return Number(input.value);
}

function readSeed(input) {
  const text = input.value.trim();
  if (!text) return null;
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text))) {
    throw new InputError(`Seed must be a whole number to ${Number.MAX_SAFE_INTEGER}.`, input);
  }
  return Number(text);
}
