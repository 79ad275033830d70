// The page, put together.

import { apiKey, getJson } from "./api.js";
import { compare, readComparison } from "./compare.js";
import { ErrorView } from "./errors.js";
import { byId, element, fillList } from "./format.js";
import { InputError } from "./request.js";
import { Run } from "./run.js";
import { readSweep, sweep, SweepView } from "./sweep.js";
import { TraitSliders } from "./traits.js";

const sliders = new TraitSliders(byId("traits"));
const traitErrors = new ErrorView(byId("traits-error"), openKeyPanel);
const sweepView = new SweepView();
const comparing = new Run("compare", openKeyPanel);
const sweeping = new Run("sweep", openKeyPanel);
let traits = {};

function runComparison() {
  return attempt(comparing, async () => {
    const body = readComparison(sliders, byId("opposite").checked);
    byId("seed-keep").hidden = true;
    const seed = await compare(comparing, byId("answers"), byId("compare-curl"), body);
    byId("seed-keep").hidden = seed === null || String(seed) === byId("seed").value;
    byId("seed-keep").value = seed;
  });
}

function runSweep() {
  return attempt(sweeping, () => {
    const body = readSweep();
    return sweep(sweeping, sweepView, byId("sweep-curl"), body, traits[body.trait]);
  });
}

/** Starts something; a field that cannot be used is shown and focused instead. */
async function attempt(run, start) {
  if (run.running) return;
  try {
    await start();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    run.errors.showInput(error.message);
    error.input.focus();
  }
}

async function loadTraits() {
  traitErrors.clear();
  try {
    const listed = await getJson("api/v1/traits");
    showTraits(listed);
    await showModel();
  } catch (error) {
    traitErrors.show(error, loadTraits);
  }
}

function showTraits({ traits: listed, problems = [] }) {
  const first = Object.keys(traits).length === 0;
  traits = listed;
  sliders.show(traits);
  fillList(byId("problems"), problems.map(({ source, reason }) => `${source}: ${reason}`));
  const names = Object.keys(traits);
  if (!names.length) byId("traits").append(element("p", "No trait is loaded.", "empty"));
  const select = byId("sweep-trait");
  const before = select.value;
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  const example = names.includes("sarcasm") ? "sarcasm" : names[0];
  if (first && example) sliders.set(example, traits[example].recommended_range?.[1] ?? 2);
  select.value = names.includes(before) ? before : example;
  if (first) fitSweep();
}

/** Lets the sweep go from end to end of what is recommended for its trait. */
function fitSweep() {
  const [low, high] = traits[byId("sweep-trait").value]?.recommended_range ?? [-2, 2];
  byId("sweep-from").value = low;
  byId("sweep-to").value = high;
}

async function showModel() {
  const { model, device, status } = await getJson("status");
  byId("model").textContent = `${model} on ${device}, ${status}`;
}

function showKeyPanel(shown) {
  byId("key-panel").hidden = !shown;
  byId("key-toggle").setAttribute("aria-expanded", String(shown));
  byId(shown ? "key" : "key-toggle").focus();
}

function openKeyPanel() {
  showKeyPanel(true);
}

function useKey(value) {
  apiKey.set(value.trim());
  byId("key-mark").hidden = !apiKey.get();
  showKeyPanel(false);
  loadTraits();
}

/** Does something else than the browser would when a form is sent. */
function onSubmit(form, work) {
  byId(form).addEventListener("submit", (event) => {
    event.preventDefault();
    work();
  });
}

onSubmit("request", runComparison);
onSubmit("sweep", runSweep);
byId("request").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    runComparison();
  }
});
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (!byId("key-panel").hidden) showKeyPanel(false);
  else for (const run of [comparing, sweeping]) run.stop();
});
byId("sweep-trait").addEventListener("change", fitSweep);
byId("seed-keep").addEventListener("click", ({ target }) => {
  byId("seed").value = target.value;
  target.hidden = true;
  byId("seed").focus();
});
byId("traits-reload").addEventListener("click", loadTraits);
byId("traits-reset").addEventListener("click", () => sliders.reset());
byId("key-toggle").addEventListener("click", () => showKeyPanel(byId("key-panel").hidden));
onSubmit("key-panel", () => useKey(byId("key").value));
byId("key-forget").addEventListener("click", () => {
  byId("key").value = "";
  useKey("");
});

byId("key").value = apiKey.get();
byId("key-mark").hidden = !apiKey.get();
loadTraits();
