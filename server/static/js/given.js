// Pictures and films that people bring: dropped, pasted or picked; read, shown small, and made smaller only when asked to.

import { getGiven } from "./api.js";
import { nameOf, wentOn } from "./history.js";

const FILE_MAX_BYTES = 20 * 2 ** 20; // what the gateway takes (server/uploads.py)
const PREVIEW_MAX_SIDE = 2048;
const SMALLEST_OFFERED = 256;
const PRESENTED_WITHIN_MS = 1000; // a frame that is there
const KEPT = 8; // pictures that jobs went on from, in memory: large ones take tens of MB

const bitmapOf = (source) => createImageBitmap(source, { colorSpaceConversion: "none" }); // the gateway ignores profiles, too

/** What a film goes on from, its last frame, or null for a still picture; also where this browser cannot tell them apart. */
async function lastFrame(blob, type) {
  if (type.startsWith("video/")) return lastOfVideo(blob);
  if (!(await globalThis.ImageDecoder?.isTypeSupported(type))) return null;
  const decoder = new ImageDecoder({ data: await blob.arrayBuffer(), type });
  try {
    await Promise.all([decoder.tracks.ready, decoder.completed]);
    const { frameCount } = decoder.tracks.selectedTrack;
    if (frameCount < 2 && type !== "image/gif") return null;
    const { image } = await decoder.decode({ frameIndex: frameCount - 1 });
    return await bitmapOf(image).finally(() => image.close());
  } finally {
    decoder.close();
  }
}

const patience = () => new Promise((resolve) => setTimeout(resolve, PRESENTED_WITHIN_MS));

async function lastOfVideo(blob) {
  const video = Object.assign(document.createElement("video"), { muted: true, preload: "auto" });
  const until = (kind) => new Promise((resolve, reject) => Object.assign(video, { [`on${kind}`]: resolve, onerror: reject }));
  // Events come before the frame that they are of: what is drawn then may be the one before. Hidden tabs present no frames.
  const presented = () => Promise.race([new Promise((resolve) => video.requestVideoFrameCallback?.(resolve)), patience()]);
  const loaded = Promise.all([until("loadeddata"), presented()]);
  video.src = URL.createObjectURL(blob);
  try {
    await loaded;
    const sought = Promise.all([until("seeked"), presented()]);
    video.currentTime = Number.isFinite(video.duration) ? video.duration : Number.MAX_SAFE_INTEGER; // which is the end, too
    await sought;
    return await bitmapOf(video);
  } finally {
    URL.revokeObjectURL(video.src);
  }
}

function drawn(source, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // under transparency, as the gateway does it
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height);
  return canvas;
}

const encoded = (canvas, type, quality) => new Promise((resolve) => canvas.toBlob(resolve, type, quality));

let pictures = 0;

export class GivenPicture {
  #standIn = null;

  /** Read a file. Rejects when this browser cannot show it. */
  static async read(file, name = file.name) {
    // In memory, so that the file may change; and without the type that its name claims: the gateway looks at the bytes.
    const blob = new Blob([await file.arrayBuffer()]);
    const last = await lastFrame(blob, file.type).catch(() => null);
    return Object.assign(new GivenPicture(last ?? (await bitmapOf(blob)), blob, name), { isFilm: last !== null, type: file.type });
  }

  constructor(bitmap, blob, name, original = null) {
    const { width, height } = bitmap;
    const scale = Math.min(1, PREVIEW_MAX_SIDE / Math.max(width, height));
    Object.assign(this, { blob, name: name || "picture", width, height });
    this.id = pictures += 1;
    this.original = original ?? this; // at the size in which it came
    this.preview = drawn(bitmap, Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
    this.accepted = false; // by the gateway, which has read the file
    bitmap.close?.();
  }

  /** Why the gateway would not take it at this size, or "". */
  tooLarge(limits) {
    return this.#isTooLarge(limits, this.width, this.height)
      ? `Too large: this server takes up to ${limits.max_image_pixels.toLocaleString("en")} pixels and ${FILE_MAX_BYTES / 2 ** 20} MiB. Choose a smaller size to go on.`
      : "";
  }

  /** Sizes to choose from: as it came, then halves; each says whether the gateway would take it. */
  sizes(limits) {
    const { width, height } = this.original;
    const sizes = [{ width, height, fits: !this.original.#isTooLarge(limits, width, height) }];
    for (let part = 2; Math.max(width, height) / part >= SMALLEST_OFFERED; part *= 2) {
      const size = { width: Math.max(1, Math.round(width / part)), height: Math.max(1, Math.round(height / part)) };
      sizes.push({ ...size, fits: !limits || size.width * size.height <= limits.max_image_pixels });
    }
    return sizes;
  }

  /** The same picture at one of its sizes. */
  async resized(width, height) {
    const { original } = this;
    if (width === original.width && height === original.height) return original;
    const bitmap = await (original.isFilm ? lastFrame(original.blob, original.type) : bitmapOf(original.blob));
    const canvas = drawn(bitmap, width, height);
    bitmap.close();
    const png = await encoded(canvas, "image/png");
    const blob = png.size > FILE_MAX_BYTES ? await encoded(canvas, "image/jpeg", 0.95) : png;
    return new GivenPicture(canvas, blob, this.name, original);
  }

  /** What a plan is asked with: the file until the gateway has read it once, then a blank one of its size, which is small. */
  async forPlan() {
    if (!this.accepted) return this.blob;
    this.#standIn ??= encoded(Object.assign(document.createElement("canvas"), { width: this.width, height: this.height }), "image/png");
    return this.#standIn;
  }

  #isTooLarge(limits, width, height) {
    return Boolean(limits) && (width * height > limits.max_image_pixels || Math.max(width, height) > limits.max_width || this.blob.size > FILE_MAX_BYTES);
  }
}

/** The pictures that jobs went on from: some in memory, all at the gateway as long as their jobs. */
export class GivenPictures {
  #byJob = new Map();

  keep(id, picture) {
    this.#byJob.set(id, picture);
    if (this.#byJob.size > KEPT) this.#byJob.delete(this.#byJob.keys().next().value);
  }

  get(id) {
    return this.#byJob.get(id);
  }

  /** Whether all that a record went on from is at hand. */
  canServe(record) {
    return !wentOn(record) || this.#byJob.has(record.id) || !record.gone;
  }

  /** The picture that a record went on from, or null. Rejects with a Problem when it is gone. */
  async of(record) {
    if (!wentOn(record)) return null;
    if (!this.#byJob.has(record.id)) this.keep(record.id, await GivenPicture.read(await getGiven(record.id), nameOf(record)));
    return this.get(record.id);
  }
}

/** Call onFile(file) for a picture dropped or pasted anywhere on the page, or picked with the input; wall shows where it goes. */
export function takeFiles({ wall, input, onFile }) {
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const hover = (on) => wall.toggleAttribute("data-dropping", on);
  addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault(); // else the browser leaves the page for the file
    hover(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && hover(false));
  addEventListener("drop", (event) => {
    hover(false);
    if (!carriesFiles(event)) return;
    event.preventDefault();
    if (event.dataTransfer.files.length > 0) onFile(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!file || (event.target.matches?.("textarea, input") && event.clipboardData.types.includes("text/plain"))) return;
    event.preventDefault();
    onFile(file);
  });
  input.addEventListener("change", () => {
    if (input.files.length > 0) onFile(input.files[0]);
    input.value = ""; // so that the same file can be picked again
  });
}
