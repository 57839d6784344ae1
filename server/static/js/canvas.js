// The picture as it grows: patches land on a canvas, each fading in, and late or doubled ones change nothing. Of a film,
// every cell of the grid shows the latest frame that has come to it.

const FADE_MS = 450;
// Phones refuse canvases beyond about 16 million pixels; larger pictures are shown smaller, and downloaded whole.
const CANVAS_MAX_SIDE = 16_384;
const CANVAS_MAX_AREA = 16_000_000;

const FETCHED_AT_ONCE = 3; // browsers allow six connections to a server; events and a film take one each

const stillness = matchMedia("(prefers-reduced-motion: reduce)");

const bitmapOf = (blob) => createImageBitmap(blob, { colorSpaceConversion: "none" });

function decode(dataUrl) {
  const bytes = Uint8Array.from(atob(dataUrl.slice(dataUrl.indexOf(",") + 1)), (char) => char.charCodeAt(0));
  return bitmapOf(new Blob([bytes], { type: "image/webp" }));
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return bitmapOf(await response.blob());
}

const versionOf = ({ frame }, refined) => 2 * frame + (refined ? 1 : 0);

export class PatchCanvas {
  constructor(element) {
    this.element = element;
    this.context = element.getContext("2d");
    this.scale = 1;
    this.picture = 0; // counts pictures, so that a patch of an earlier one is dropped
    this.decoding = new Set();
    this.fades = new Map(); // cell -> {bitmap, box, start}
    this.drawn = new Map(); // cell of the grid -> version of the patch last drawn there: see versionOf
    this.waiting = new Map(); // cell -> the newest patch of a film to be fetched
    this.fetching = 0;
    this.given = null; // {image, box, hole}: what is shown until patches cover it
    this.covered = false;
    document.addEventListener("visibilitychange", () => document.hidden && this.#finishFades());
  }

  /** Begin a picture of width x height pixels, or a film of `frames` such, `total` patches, none of them made yet. */
  layout({ width, height, total, frames = 1, status }) {
    this.picture += 1;
    this.cells = total / frames;
    this.decoding.clear();
    for (const { bitmap } of this.fades.values()) bitmap.close();
    this.fades.clear();
    this.drawn.clear();
    this.waiting.clear();
    this.fetching = 0;
    this.given = null;
    this.scale = Math.min(1, CANVAS_MAX_SIDE / Math.max(width, height), Math.sqrt(CANVAS_MAX_AREA / (width * height)));
    this.element.width = Math.max(1, Math.floor(width * this.scale));
    this.element.height = Math.max(1, Math.floor(height * this.scale));
    this.element.dataset.total = total;
    this.element.dataset.done = 0;
    this.element.dataset.status = status;
    this.element.dataset.sketched = false;
  }

  /** Draw one patch from its event; a refined patch replaces the first without a second fade, a later frame an earlier one. */
  paint(event, refined) {
    this.#decode(decode(event.image), event, versionOf(event, refined));
  }

  /**
   * The same for a film, whose events have addresses instead of images: they are fetched a few at a time, and not at all
   * where a later frame has come in the meantime. So a long film that is opened again is on its newest frame at once.
   */
  paintFrom(event, refined) {
    const cell = event.index % this.cells;
    const version = versionOf(event, refined);
    if (event.done) this.element.dataset.done = event.done;
    if ((this.waiting.get(cell)?.version ?? -1) < version) this.waiting.set(cell, { event, version });
    this.#fetchNext();
  }

  /** Say whether something else lies over the canvas: nothing is fetched for what nobody sees. */
  cover(covered) {
    this.covered = covered;
    for (let more = FETCHED_AT_ONCE; more > 0; more -= 1) this.#fetchNext();
  }

  #fetchNext() {
    const [next] = this.waiting;
    if (!next || this.covered || this.fetching === FETCHED_AT_ONCE) return;
    const [cell, { event, version }] = next;
    const { picture } = this;
    this.waiting.delete(cell);
    this.fetching += 1;
    this.#decode(fetched(event.url), event, version).finally(() => {
      if (picture !== this.picture) return;
      this.fetching -= 1;
      this.#fetchNext();
    });
  }

  #decode(coming, event, version) {
    const { picture } = this;
    const cell = event.index % this.cells;
    const work = coming.then((bitmap) => {
      // Decoding may finish out of order: never let an older version cover a newer one.
      if (picture !== this.picture || (this.drawn.get(cell) ?? -1) > version) return bitmap.close();
      const fresh = !this.drawn.has(cell);
      this.drawn.set(cell, version);
      if (event.image) this.element.dataset.done = this.drawn.size;
      const fading = this.fades.get(cell);
      if (fading) {
        fading.bitmap.close();
        fading.bitmap = bitmap;
      } else if (fresh && !stillness.matches && !document.hidden) this.#fade(cell, bitmap, event.box);
      else this.#finish(bitmap, event.box);
    }).catch(() => {}).finally(() => this.decoding.delete(work)); // a patch that is no longer kept leaves what is there
    this.decoding.add(work);
    return work;
  }

  /** Show a given picture at its place at once; box is left, top, right, bottom, repaint a part that is to come. */
  paintGiven(image, box, repaint) {
    const hole = repaint && [repaint.left, repaint.top, repaint.left + repaint.width, repaint.top + repaint.height];
    this.given = { image, box, hole };
    this.#drawGiven();
  }

  /** Show what the picture is to become, from the address of its sketch, until patches cover it. */
  async paintSketch(address, box) {
    const { picture } = this;
    const image = await loadImage(address);
    if (picture !== this.picture || this.drawn.size > 0) return;
    this.element.dataset.sketched = true;
    this.paintGiven(image, box);
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

  #finish(bitmap, box) {
    this.#draw(bitmap, box, 1);
    bitmap.close();
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

  #fade(cell, bitmap, box) {
    this.fades.set(cell, { bitmap, box, start: performance.now() });
    if (this.fades.size === 1) requestAnimationFrame((now) => this.#step(now));
  }

  #step(now) {
    for (const [cell, { bitmap, box, start }] of this.fades) {
      const part = Math.min(1, Math.max(0, (now - start) / FADE_MS));
      if (part < 1) this.#draw(bitmap, box, 1 - (1 - part) ** 3);
      else {
        this.fades.delete(cell);
        this.#finish(bitmap, box);
      }
    }
    if (this.fades.size > 0) requestAnimationFrame((next) => this.#step(next));
  }

  #finishFades() {
    for (const { bitmap, box } of this.fades.values()) this.#finish(bitmap, box);
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
