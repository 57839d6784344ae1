// The picture as it grows: patches land on a canvas, each fading in, and late or doubled ones change nothing.

const FADE_MS = 450;
// Phones refuse canvases beyond about 16 million pixels; larger pictures are shown smaller, and downloaded whole.
const CANVAS_MAX_SIDE = 16_384;
const CANVAS_MAX_AREA = 16_000_000;

const stillness = matchMedia("(prefers-reduced-motion: reduce)");

function decode(dataUrl) {
  const bytes = Uint8Array.from(atob(dataUrl.slice(dataUrl.indexOf(",") + 1)), (char) => char.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: "image/webp" }), { colorSpaceConversion: "none" });
}

export class PatchCanvas {
  constructor(element) {
    this.element = element;
    this.context = element.getContext("2d");
    this.scale = 1;
    this.picture = 0; // counts pictures, so that a patch of an earlier one is dropped
    this.decoding = new Set();
    this.fades = new Map(); // index -> {bitmap, box, start}
    this.drawn = new Map(); // index -> version of the patch last drawn: 0 first, 1 refined
    this.given = null; // {image, box, hole}: what is shown until patches cover it
    document.addEventListener("visibilitychange", () => document.hidden && this.#finishFades());
  }

  /** Begin a picture of width x height pixels, `total` patches, none of them made yet. */
  layout({ width, height, total, status }) {
    this.picture += 1;
    this.decoding.clear();
    this.fades.clear();
    this.drawn.clear();
    this.given = null;
    this.scale = Math.min(1, CANVAS_MAX_SIDE / Math.max(width, height), Math.sqrt(CANVAS_MAX_AREA / (width * height)));
    this.element.width = Math.max(1, Math.floor(width * this.scale));
    this.element.height = Math.max(1, Math.floor(height * this.scale));
    this.element.dataset.total = total;
    this.element.dataset.done = 0;
    this.element.dataset.status = status;
  }

  /** Draw one patch from its event; a refined patch replaces the first without a second fade. */
  paint(event, refined) {
    const picture = this.picture;
    const version = refined ? 1 : 0;
    const work = decode(event.image).then((bitmap) => {
      // Decoding may finish out of order: never let a first version cover its refined one.
      if (picture !== this.picture || (this.drawn.get(event.index) ?? -1) > version) return bitmap.close();
      const fresh = !this.drawn.has(event.index);
      this.drawn.set(event.index, version);
      this.element.dataset.done = this.drawn.size;
      const fading = this.fades.get(event.index);
      if (fading) fading.bitmap = bitmap;
      else if (fresh && !stillness.matches && !document.hidden) this.#fade(event.index, bitmap, event.box);
      else this.#draw(bitmap, event.box, 1);
    });
    this.decoding.add(work);
    work.catch(() => {}).finally(() => this.decoding.delete(work));
  }

  /** Show a given picture at its place at once; box is left, top, right, bottom, repaint a part that is to come. */
  paintGiven(image, box, repaint) {
    const hole = repaint && [repaint.left, repaint.top, repaint.left + repaint.width, repaint.top + repaint.height];
    this.given = { image, box, hole };
    this.#drawGiven();
  }

  /** Draw the whole picture at once, from the finished file or a kept thumbnail. */
  paintWhole(image, done) {
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(image, 0, 0, this.element.width, this.element.height);
    this.element.dataset.done = done;
  }

  /** Say the picture's status, once all that arrived before is really on the canvas. */
  async settle(status) {
    const picture = this.picture;
    while (picture === this.picture && this.decoding.size + this.fades.size > 0) {
      await Promise.allSettled(this.decoding);
      if (this.fades.size > 0) await new Promise((resolve) => setTimeout(resolve, 50));
    }
    if (picture !== this.picture) return false;
    this.element.dataset.status = status;
    return true;
  }

  /** A small copy for the history, as a data address. */
  thumbnail() {
    return thumbnailOf(this.element);
  }

  #rect([left, top, right, bottom]) {
    // Rounding edges, not sizes, leaves no gaps between patches on a canvas that is shown smaller.
    const [x0, y0, x1, y1] = [left, top, right, bottom].map((edge) => Math.round(edge * this.scale));
    return [x0, y0, x1 - x0, y1 - y0];
  }

  #draw(bitmap, box, alpha) {
    const rect = this.#rect(box);
    this.context.clearRect(...rect);
    if (alpha < 1 && this.given) this.#drawGiven(rect);
    this.context.globalAlpha = alpha;
    this.context.drawImage(bitmap, ...rect);
    this.context.globalAlpha = 1;
  }

  /** The given picture, or as much of it as lies in a rectangle of the canvas. */
  #drawGiven(rect = [0, 0, this.element.width, this.element.height]) {
    const { context } = this;
    const { image, box, hole } = this.given;
    context.save();
    context.beginPath();
    context.rect(...rect);
    context.clip();
    context.imageSmoothingQuality = "high";
    context.drawImage(image, ...this.#rect(box));
    if (hole) context.clearRect(...this.#rect(hole));
    context.restore();
  }

  #fade(index, bitmap, box) {
    this.fades.set(index, { bitmap, box, start: performance.now() });
    if (this.fades.size === 1) requestAnimationFrame((now) => this.#step(now));
  }

  #step(now) {
    for (const [index, { bitmap, box, start }] of this.fades) {
      const part = Math.min(1, Math.max(0, (now - start) / FADE_MS));
      this.#draw(bitmap, box, 1 - (1 - part) ** 3);
      if (part === 1) this.fades.delete(index);
    }
    if (this.fades.size > 0) requestAnimationFrame((next) => this.#step(next));
  }

  #finishFades() {
    for (const { bitmap, box } of this.fades.values()) this.#draw(bitmap, box, 1);
    this.fades.clear();
  }
}

/** A copy of a canvas or image that fits 480 x 240 px, as a WebP data address (PNG where WebP cannot be written). */
export function thumbnailOf(source) {
  const width = source.naturalWidth ?? source.width;
  const height = source.naturalHeight ?? source.height;
  const scale = Math.min(1, 480 / width, 240 / height);
  const copy = document.createElement("canvas");
  copy.width = Math.max(1, Math.round(width * scale));
  copy.height = Math.max(1, Math.round(height * scale));
  const context = copy.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, copy.width, copy.height);
  return copy.toDataURL("image/webp", 0.85);
}

/** Load an image address; rejects when it cannot be shown. */
export async function loadImage(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}
