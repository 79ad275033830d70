// The fields that every call shares: the prompt, and how to choose tokens.

import { InputError, readNumber } from "./fields.js";
import { byId } from "./format.js";

/** The prompt and the sampling as a request's fields. */
export function readRequest() {
  const prompt = byId("prompt");
  if (!prompt.value.trim()) throw new InputError("Type a prompt first.", prompt);
  const body = { prompt: prompt.value };
  const system = byId("system").value;
  if (system.trim()) body.system_prompt = system;
  const maxTokens = readNumber(byId("max-tokens"));
  const temperature = readNumber(byId("temperature"));
  const seed = readSeed(byId("seed"));
  if (maxTokens !== null) body.max_tokens = maxTokens;
  if (temperature !== null) body.temperature = temperature;
  if (seed !== null) body.seed = seed;
  return body;
}

function readSeed(input) {
  const text = input.value.trim();
  if (!text) return null;
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text))) {
    throw new InputError(`Seed must be a whole number to ${Number.MAX_SAFE_INTEGER}.`, input);
  }
  return Number(text);
}
