// A slider for each trait, with what is known about its vector.

import { fillList, fromTemplate, number, signed } from "./format.js";

const USUAL_REACH = 3;
const BEYOND_RECOMMENDED = 1.5;

export class TraitSliders {
  constructor(container) {
    this.container = container;
    this.sliders = new Map();
  }

  /** Shows the traits; those that were there keep their scalars. */
  show(traits) {
    const before = this.sliders;
    this.sliders = new Map(
      Object.entries(traits).map(([name, trait]) => {
        const slider = new TraitSlider(name, trait);
        slider.set(before.get(name)?.scalar ?? 0);
        return [name, slider];
      }),
    );
    this.container.replaceChildren(...[...this.sliders.values()].map((slider) => slider.element));
    this.container.setAttribute("aria-busy", "false");
  }

  /** The traits that steer: those whose scalar is not 0. */
  chosen() {
    return [...this.sliders]
      .filter(([, slider]) => slider.scalar !== 0)
      .map(([name, slider]) => ({ name, scalar: slider.scalar }));
  }

  set(name, scalar) {
    this.sliders.get(name)?.set(scalar);
  }

  reset() {
    for (const slider of this.sliders.values()) slider.set(0);
  }

  get first() {
    return this.container.querySelector(".slider");
  }
}

class TraitSlider {
  constructor(name, trait) {
    this.trait = trait;
    this.scalar = 0;
    this.element = fromTemplate("trait-template");
    this.range = this.element.querySelector(".slider");
    this.exact = this.element.querySelector(".exact");
    this.meta = this.element.querySelector(".meta");
    this.share = this.element.querySelector(".share");
    const label = this.element.querySelector("label");
    const id = `trait-${name}`;

    label.textContent = name;
    label.htmlFor = this.range.id = id;
    label.id = `${id}-label`;
    this.meta.id = `${id}-meta`;
    this.share.id = `${id}-share`;
    this.element.setAttribute("aria-labelledby", label.id);
    this.range.setAttribute("aria-describedby", `${this.share.id} ${this.meta.id}`);
    this.exact.setAttribute("aria-label", `${name}, exact scalar`);
    this.reach = reachOf(trait.recommended_range);
    Object.assign(this.range, { min: -this.reach, max: this.reach, step: stepOf(this.reach) });
    fillList(this.element.querySelector(".warnings"), trait.warnings ?? []);
    this.range.addEventListener("input", () => this.set(Number(this.range.value)));
    this.exact.addEventListener("input", () => this.set(Number(this.exact.value), this.exact));
    this.exact.addEventListener("change", () => this.set(this.scalar));
    this.#mark("recommended", trait.recommended_range ?? [0, 0]);
    this.meta.textContent = this.#facts();
    this.set(0);
  }

  /** Sets the scalar; what is being typed is left as it is. */
  set(scalar, typed = null) {
    this.scalar = Number.isFinite(scalar) ? scalar : 0;
    this.range.value = this.scalar;
    this.range.setAttribute("aria-valuetext", signed(this.scalar, 4));
    if (typed !== this.exact) this.exact.value = this.scalar;
    this.element.classList.toggle("active", this.scalar !== 0);
    this.#mark("filled", [Math.min(0, this.scalar), Math.max(0, this.scalar)]);
    const [low, high] = this.trait.recommended_range ?? [-Infinity, Infinity];
    this.element.classList.toggle("outside", this.scalar < low || this.scalar > high);
    const relative = this.#mean(this.trait.relative_norms);
    const adds = this.scalar !== 0 && relative !== null;
    this.share.textContent = adds
      ? `adds ${number(100 * relative * Math.abs(this.scalar), 0)} %`
      : "";
  }

  /** What the vector is. */
  #facts() {
    const layers = this.trait.selected_layers ?? [];
    const norm = this.#mean(this.trait.norms);
    const facts = [`block${layers.length === 1 ? "" : "s"} ${ranges(layers)}`];
    if (norm !== null) facts.push(`norm ${number(norm, 1)}`);
    const range = this.trait.recommended_range;
    if (range) facts.push(`recommended ${number(range[0])} to ${number(range[1])}`);
    if (this.trait.state === "kept") facts.push("file unusable: last good vector");
    return facts.join(" · ");
  }

  /** The mean over the blocks that are steered, or null if one is not known. */
  #mean(byLayer = {}) {
    const values = (this.trait.selected_layers ?? []).map((layer) => byLayer[layer]);
    if (!values.length || values.includes(undefined)) return null;
    return values.reduce((sum, each) => sum + each, 0) / values.length;
  }

  #mark(name, [low, high]) {
    // The thumb's middle stays half its width, 8 pixels, away from the ends of the track.
    const place = (value) => {
      const share = Math.min(1, Math.max(0, (value + this.reach) / (2 * this.reach)));
      return `calc(8px + ${share} * (100% - 16px))`;
    };
    this.range.style.setProperty(`--${name}-from`, place(low));
    this.range.style.setProperty(`--${name}-to`, place(high));
  }
}

/** How far the slider goes to either side: beyond what is recommended, to a round number. */
function reachOf(range) {
  if (!range) return USUAL_REACH;
  const reach = BEYOND_RECOMMENDED * Math.max(Math.abs(range[0]), Math.abs(range[1]));
  const unit = 10 ** Math.floor(Math.log10(reach)) / 2;
  return reach > 0 ? Number((Math.ceil(reach / unit) * unit).toPrecision(6)) : USUAL_REACH;
}

function stepOf(reach) {
  return Number((10 ** (Math.floor(Math.log10(reach)) - 1)).toPrecision(6));
}

/** Ascending numbers as text: `1`, `12–16, 20`. */
function ranges(numbers) {
  const runs = [];
  for (const each of numbers) {
    const last = runs.at(-1);
    if (last && each === last[1] + 1) last[1] = each;
    else runs.push([each, each]);
  }
  return runs.map(([low, high]) => (low === high ? `${low}` : `${low}–${high}`)).join(", ");
}
