// One model's side of the page: what it found in the picture, drawn, listed and looked at.

import { colour, Drawing } from "./drawing.js";

const NONE = "";

export class Pane {
  /** `models` to choose from; the first side always has one, the second may have none. */
  constructor(models, predict, { first }) {
    this.element = document.getElementById("pane").content.firstElementChild.cloneNode(true);
    [this.select, this.said, this.figure, this.caption, this.list] = [
      ...["select", ".said", "figure", "figcaption", ".found"].map((name) => this.element.querySelector(name)),
    ];
    this.drawing = new Drawing(this.figure.querySelector("canvas"));
    this.predict = predict;
    this.models = models;
    if (!first) this.select.append(new Option("none", NONE));
    this.select.append(...models.map(({ name }) => new Option(name, name)));
    this.select.onchange = () => this.ask(this.picture);
    this.drawing.canvas.onpointermove = this.drawing.canvas.onpointerdown = (event) => this.look(event);
    this.drawing.canvas.onpointerleave = ({ pointerType }) => pointerType === "touch" || this.choose(null);
    [this.found, this.worthSeeing] = [[], []];
    this.shown = [];
    this.limits = { score: 0.5, most: 100 };
  }

  /** Ask the chosen model for a picture, {file, bitmap}; a later call makes this one's answer void. */
  async ask(picture) {
    this.picture = picture;
    this.asked = {};
    const { asked } = this;
    [this.found, this.worthSeeing, this.words] = [[], [], ""];
    const model = this.models.find(({ name }) => name === this.select.value);
    this.figure.hidden = !picture || !model;
    if (this.figure.hidden) return this.update();
    this.drawing.show(picture.bitmap);
    this.update();
    this.said.textContent = "Looking …";
    try {
      const { instances, words } = await this.predict(model, picture);
      if (this.asked !== asked) return;
      instances.forEach((one, i) => (one.colour = model.task === "proposals" ? i : one.label));
      this.found = instances.toSorted((a, b) => b.score - a.score);
      this.worthSeeing = model.task === "proposals" ? thinned(this.found) : this.found;
      this.words = words;
      this.update();
    } catch (err) {
      if (this.asked === asked) this.said.textContent = err.message;
    }
  }

  /** Show what is within the limits, {score, most}. */
  update(limits = this.limits) {
    this.limits = limits;
    this.shown = this.worthSeeing.filter(({ score }) => score >= limits.score).slice(0, limits.most);
    this.said.textContent = this.words && `${this.shown.length} of ${this.found.length} shown; ${this.words}`;
    this.list.replaceChildren(...this.shown.map((one) => this.entry(one)));
    this.choose(null);
  }

  entry(one) {
    const dot = document.createElement("canvas");
    dot.style.background = `rgb(${colour(one.colour)})`;
    const button = document.createElement("button");
    button.type = "button";
    button.append(dot, described(one));
    button.onfocus = button.onpointerenter = button.onclick = () => this.choose(one);
    button.onblur = button.onpointerleave = () => this.choose(null);
    const item = document.createElement("li");
    item.append(button);
    return item;
  }

  /** The pointer is over the picture. */
  look(event) {
    this.choose(this.drawing.at(this.shown, ...this.drawing.place(event)));
  }

  choose(one) {
    if (this.figure.hidden) return;
    this.drawing.draw(this.shown, one);
    [...this.list.children].forEach((item, i) =>
      item.firstChild.classList.toggle("chosen", this.shown[i] === one));
    this.caption.hidden = one === null;
    if (one) this.name(one);
  }

  /** Class and score at the instance's corner, inside the figure. */
  name(one) {
    this.caption.textContent = described(one);
    const { canvas, bitmap } = this.drawing;
    const scale = canvas.clientWidth / bitmap.width;
    const left = canvas.offsetLeft + one.box[0] * scale;
    const above = canvas.offsetTop + one.box[1] * scale - this.caption.offsetHeight - 3;
    const room = this.figure.clientWidth - this.caption.offsetWidth;
    this.caption.style.left = `${Math.max(0, Math.min(left, room))}px`;
    this.caption.style.top = `${Math.max(0, above)}px`;
  }
}

/** Of proposals, which are many for each object, those whose box no better one shares by half. */
function thinned(proposals) {
  const kept = [];
  for (const one of proposals) {
    if (kept.every((better) => boxIou(better.box, one.box) <= 0.5)) kept.push(one);
  }
  return kept;
}

function boxIou(a, b) {
  const side = (k) => Math.max(0, Math.min(a[k + 2], b[k + 2]) - Math.max(a[k], b[k]));
  const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
  const shared = side(0) * side(1);
  return shared / (area(a) + area(b) - shared);
}

const described = ({ name, score }) => `${name} ${score.toFixed(2)}`;
