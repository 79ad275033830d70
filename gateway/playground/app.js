// The page, put together.

import { apiKey, getJson } from "./api.js";
import { copyText } from "./clipboard.js";
import { ComparisonView, readComparison } from "./compare.js";
import { download } from "./csv.js";
import { ErrorView } from "./errors.js";
import { clearNotes, InputError, showAt } from "./fields.js";
import { byId, element, fillList } from "./format.js";
import { isLink, Link } from "./link.js";
import { Run } from "./run.js";
import { SteeringForm } from "./steering.js";
import { fitSweep, readSweep, showUnit, sweep, SweepView, usualScalars } from "./sweep.js";
import { TraitSliders } from "./traits.js";

const sliders = new TraitSliders(byId("traits"));
const form = new SteeringForm();
const link = new Link(sliders, form.rows);
const traitErrors = new ErrorView(byId("traits-error"), openKeyPanel);
const comparisonView = new ComparisonView(byId("answers"));
const sweepView = new SweepView();
const comparing = new Run("compare", openKeyPanel, (place) => form.fieldAt(place));
const sweeping = new Run("sweep", openKeyPanel, (place) => form.fieldAt(place));
let traits = {};

function runComparison() {
  return attempt(comparing, async () => {
    const body = readComparison(sliders, form, byId("opposite").checked);
    byId("compare-csv").hidden = byId("seed-keep").hidden = true;
    await comparisonView.show(comparing, byId("compare-curl"), body);
    if (!comparisonView.origin) return;
    const { seed } = comparisonView.origin;
    byId("compare-csv").hidden = false;
    byId("seed-keep").hidden = String(seed) === byId("seed").value;
    byId("seed-keep").value = seed;
  });
}

function runSweep() {
  return attempt(sweeping, async () => {
    const body = readSweep(sliders, form);
    byId("sweep-csv").hidden = true;
    await sweep(sweeping, sweepView, byId("sweep-curl"), body, traits[byId("sweep-trait").value]);
    byId("sweep-csv").hidden = !sweepView.origin;
  });
}

/** Starts something; a field that cannot be used is shown and focused instead. */
async function attempt(run, start) {
  if (run.running) return;
  clearNotes();
  try {
    await start();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    run.errors.clear();
    showAt(error.input, error.message);
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
  offerTraits(names);
  if (first && names.length) begin(names);
}

/** Lets every choice of a trait, also those of bounds to come, have the names. */
function offerTraits(names) {
  const templates = [...document.querySelectorAll("template")].map(({ content }) => content);
  for (const root of [document, ...templates]) {
    for (const select of root.querySelectorAll("select[data-traits]")) {
      const before = select.value;
      const fixed = [...select.options].filter(({ dataset }) => "fixed" in dataset);
      select.replaceChildren(...fixed, ...names.map((name) => new Option(name, name)));
      if ([...select.options].some(({ value }) => value === before)) select.value = before;
    }
  }
}

/** Fills the form as the link says, or else with an example. */
function begin(names) {
  const example = names.includes("sarcasm") ? "sarcasm" : names[0];
  byId("sweep-trait").value = example;
  fitSweep(traits);
  if (link.given) link.restore();
  else sliders.set(example, usualScalars(traits[example])[1]);
  link.follow();
  showUnit();
  showRules();
  // What a link has set is not to be hidden.
  byId("rules").open ||= form.summary !== "";
  byId("system").closest("details").open ||= byId("system").value !== "";
}

/** Says how much of the steering is in the closed part of the form. */
function showRules() {
  byId("rules-summary").textContent = form.summary;
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
for (const id of ["sweep-trait", "sweep-kind", "sweep-unit"]) {
  byId(id).addEventListener("change", () => fitSweep(traits));
}
for (const type of ["input", "click"]) byId("request").addEventListener(type, showRules);
byId("compare-csv").addEventListener("click", () => download("answers.csv", comparisonView.rows));
byId("sweep-csv").addEventListener("click", () => download("sweep.csv", sweepView.table));
byId("link-copy").addEventListener("click", async () => {
  // Before there are traits, the address has more than the form.
  if (Object.keys(traits).length) link.save();
  const done = await copyText(location.href);
  byId("link-copied").textContent = done ? "Copied" : "It is in the address bar";
});
addEventListener("hashchange", () => isLink(location.hash) && location.reload());
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
