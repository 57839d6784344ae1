// The picture's part of the desk: which one, how large, and in numbers what the easel shows.

import { SIDES } from "./outpainting.js";

const AREA = ["left", "top", "width", "height"];

const byId = (id) => document.getElementById(id);

export class PictureFields {
  constructor(outpainting) {
    this.state = outpainting;
    this.limits = null;
    this.#listen();
    outpainting.onChange(() => this.draw());
  }

  setLimits(limits) {
    this.limits = limits;
    this.drawn = null;
    this.draw();
  }

  draw() {
    const { picture, tool, extend, area, snap, patchPx, strokes, brushPx } = this.state;
    byId("picture-none").hidden = picture !== null;
    byId("picture-one").hidden = picture === null;
    byId("extend").hidden = picture === null || tool !== "extend";
    byId("repaint").hidden = picture === null || tool !== "repaint";
    byId("mask").hidden = picture === null || tool !== "brush";
    if (!picture) {
      this.drawn = null; // what was said of a file that could not be read stays
      return;
    }
    if (this.drawn !== picture) {
      this.drawn = picture;
      byId("picture-name").textContent = picture.name;
      this.#drawSizes();
      this.say(picture.tooLarge(this.limits));
    }
    for (const side of SIDES) write(`extend-${side}`, extend[side]);
    for (const name of AREA) write(`repaint-${name}`, area[name]);
    byId("brush-px").max = Math.max(4, Math.round(Math.min(picture.width, picture.height) / 2));
    byId("brush-px").value = brushPx;
    byId("brush-px-value").textContent = `${brushPx} px`;
    byId("brush-undo").disabled = strokes.length === 0;
    byId("snap").checked = snap;
    byId("snap-px").textContent = patchPx;
  }

  /** A word at the picture: why it cannot be used. */
  say(words) {
    byId("image-error").textContent = words;
    byId("image-error").hidden = words === "";
  }

  #drawSizes() {
    const { picture } = this.state;
    const sizes = picture.sizes(this.limits);
    byId("picture-size").replaceChildren(...sizes.map(({ width, height, fits }, place) => {
      const words = `${width} × ${height}${fits ? (place === 0 ? ", as it is" : "") : ", too large"}`;
      const option = new Option(words, `${width}x${height}`);
      option.disabled = !fits;
      option.selected = width === picture.width && height === picture.height;
      return option;
    }));
  }

  #listen() {
    for (const id of ["picture-choose", "picture-other"]) byId(id).addEventListener("click", () => byId("file").click());
    byId("picture-remove").addEventListener("click", () => {
      this.say("");
      this.state.remove();
      byId("picture-choose").focus();
    });
    byId("picture-size").addEventListener("change", async () => {
      const [width, height] = byId("picture-size").value.split("x").map(Number);
      const { picture } = this.state;
      const resized = await picture.resized(width, height);
      if (this.state.picture === picture) this.state.replace(resized);
    });
    byId("brush-px").addEventListener("input", () => this.state.setBrush(Number(byId("brush-px").value)));
    byId("brush-undo").addEventListener("click", () => this.state.undoStroke());
    byId("snap").addEventListener("change", () => this.state.setSnap(byId("snap").checked));
    for (const side of SIDES) this.#onNumber(`extend-${side}`, (px) => this.state.setEdge(side, px));
    for (const name of AREA) this.#onNumber(`repaint-${name}`, (px) => this.state.setArea({ ...this.state.area, [name]: px }));
  }

  #onNumber(id, set) {
    byId(id).addEventListener("input", () => set(Number(byId(id).value)));
    byId(id).addEventListener("blur", () => this.draw()); // what was typed may have been more than there is room for
  }
}

/** A number into its field, unless somebody is typing in it. */
function write(id, value) {
  const field = byId(id);
  if (field !== document.activeElement) field.value = value;
}
