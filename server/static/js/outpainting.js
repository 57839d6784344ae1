// What is to be done with a picture of one's own: edges moved outward, a part painted anew, or a film begun. State, no drawing.

import { maskOf } from "./brush.js";

export const SIDES = ["left", "right", "top", "bottom"];
export const SIDE_MAX = 65_536;
const NOTHING = { left: 0, right: 0, top: 0, bottom: 0 };
const FIRST_PATCHES = 8; // most that are added before anybody has moved an edge

const within = (value, least, most) => Math.max(least, Math.min(most, value));
const wholePixels = (value) => Math.round(value) || 0;

export class Outpainting {
  #listeners = [];

  picture = null; // GivenPicture
  tool = "extend"; // or "repaint", "brush", "animate"
  extend = NOTHING; // pixels added on each side
  area = null; // to repaint: left, top, width, height in pixels of the picture
  strokes = []; // or what was brushed over; a new list with each change
  brushPx = 32; // the brush's width, in pixels of the picture
  snap = true; // to whole patches, for edges that are dragged or moved by keys; typed numbers stay as they are
  patchPx = 64;

  onChange(listener) {
    this.#listeners.push(listener);
  }

  /** Begin with a picture. Without `extend` and `area`, a first suggestion of each. */
  take(picture, { tool = "extend", extend = null, area = null } = {}) {
    const px = this.patchPx;
    const across = px * within(Math.ceil(picture.width / 3 / px), 1, FIRST_PATCHES);
    Object.assign(this, { picture, tool, extend: extend ?? { ...NOTHING, right: across } });
    this.area = area ?? this.#middle();
    this.#takeBrush();
    this.#changed();
  }

  /** The same picture at another size. */
  replace(picture) {
    this.picture = picture;
    this.area = this.#middle();
    this.#takeBrush();
    this.#changed();
  }

  remove() {
    this.picture = null;
    this.#changed();
  }

  setTool(tool) {
    this.tool = tool;
    this.#changed();
  }

  setSnap(snap) {
    this.snap = snap;
    this.#changed();
  }

  setEdge(side, px) {
    this.extend = { ...this.extend, [side]: within(wholePixels(px), 0, SIDE_MAX) };
    this.#changed();
  }

  /** Cut to what lies inside the picture, at least one pixel. */
  setArea({ left, top, width, height }) {
    const size = { width: within(wholePixels(width), 1, this.picture.width), height: within(wholePixels(height), 1, this.picture.height) };
    this.area = {
      left: within(wholePixels(left), 0, this.picture.width - size.width),
      top: within(wholePixels(top), 0, this.picture.height - size.height),
      ...size,
    };
    this.#changed();
  }

  /** The area between two points of the picture, grown to whole patches where edges snap. */
  setCorners(one, other) {
    const px = this.snap ? this.patchPx : 1;
    const { width, height } = this.picture;
    const span = (a, b, length) => {
      const start = Math.floor(within(Math.min(a, b), 0, length - 1) / px) * px;
      return [start, Math.min(length, Math.max(start + 1, Math.ceil(within(Math.max(a, b), 0, length) / px) * px))];
    };
    const [left, right] = span(one.x, other.x, width);
    const [top, bottom] = span(one.y, other.y, height);
    this.setArea({ left, top, width: right - left, height: bottom - top });
  }

  setBrush(px) {
    this.brushPx = px;
    this.#changed();
  }

  /** Begin a stroke at a point of the picture; what is returned draws it on to another one. */
  beginStroke(point) {
    const stroke = { px: this.brushPx, points: [point] };
    const draw = () => {
      this.strokes = [...this.strokes.filter((other) => other !== stroke), stroke];
      this.#changed();
    };
    draw();
    return (next) => {
      stroke.points.push(next);
      draw();
    };
  }

  undoStroke() {
    this.strokes = this.strokes.slice(0, -1);
    this.#changed();
  }

  /** What goes beside the request: the mask of what was brushed over, or null. */
  async mask() {
    return this.picture && this.tool === "brush" ? maskOf(this.strokes, this.picture) : null;
  }

  /** How far an edge or the area goes with one press of a key. */
  get step() {
    return this.snap ? this.patchPx : 1;
  }

  /** Size of the finished picture. */
  get whole() {
    const { left, right, top, bottom } = this.tool === "extend" ? this.extend : NOTHING;
    return { width: left + this.picture.width + right, height: top + this.picture.height + bottom };
  }

  /** Where the picture lies in the finished one: left, top, right, bottom. */
  get given() {
    const { left, top } = this.tool === "extend" ? this.extend : NOTHING;
    return [left, top, left + this.picture.width, top + this.picture.height];
  }

  /** Whether anything would be drawn. */
  get asksForSomething() {
    if (this.tool === "brush") return this.strokes.length > 0;
    return this.tool !== "extend" || SIDES.some((side) => this.extend[side] > 0);
  }

  /** Its fields of a request. */
  request() {
    if (this.tool === "animate") return { task: "image_animation" };
    if (this.tool === "brush") return { task: "image_outpainting" }; // the mask goes beside it
    return { task: "image_outpainting", ...(this.tool === "extend" ? { extend: this.extend } : { repaint: this.area }) };
  }

  #takeBrush() {
    this.strokes = [];
    this.brushPx = Math.max(4, Math.round(Math.min(this.picture.width, this.picture.height) / 8));
  }

  #middle() {
    const { width, height } = this.picture;
    const px = this.patchPx;
    const third = (length) => Math.min(length, Math.max(1, Math.round(length / 3 / px)) * px);
    const size = { width: third(width), height: third(height) };
    const start = (length, part) => Math.min(length - part, Math.floor((length - part) / 2 / px) * px);
    return { left: start(width, size.width), top: start(height, size.height), ...size };
  }

  #changed() {
    for (const listener of this.#listeners) listener();
  }
}

/** Where a picture's corner lies on its grid of patches, x and y in pixels: the rule of the gateway (canvas/controller.py). */
export function gridOrigin(given, width, height, patchPx) {
  if (!given) return [0, 0];
  const along = (start, stop, length) => {
    if (start === 0 && stop === length) return 0;
    const edge = start >= length - stop ? start : stop;
    return (patchPx - (edge % patchPx)) % patchPx;
  };
  return [along(given[0], given[2], width), along(given[1], given[3], height)];
}

/** Whether every pixel of a box is given: what the model draws is elsewhere. */
export function isKnown(box, given, repaint) {
  if (!given || box[0] < given[0] || box[1] < given[1] || box[2] > given[2] || box[3] > given[3]) return false;
  if (!repaint) return true;
  const { left, top, width, height } = repaint;
  return box[2] <= left || box[0] >= left + width || box[3] <= top || box[1] >= top + height;
}
