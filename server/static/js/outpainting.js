// What is to be done with a picture of one's own: edges moved outward, a part painted anew, or a film begun. State, no drawing.

export const SIDES = ["left", "right", "top", "bottom"];
export const SIDE_MAX = 65_536;
const NOTHING = { left: 0, right: 0, top: 0, bottom: 0 };
const FIRST_PATCHES = 8; // most that are added before anybody has moved an edge

const within = (value, least, most) => Math.max(least, Math.min(most, value));
const wholePixels = (value) => Math.round(value) || 0;

export class Outpainting {
  #listeners = [];

  picture = null; // GivenPicture
  tool = "extend"; // or "repaint", "animate"
  extend = NOTHING; // pixels added on each side
  area = null; // to repaint: left, top, width, height in pixels of the picture
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
    this.#changed();
  }

  /** The same picture at another size. */
  replace(picture) {
    this.picture = picture;
    this.area = this.#middle();
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
    return this.tool !== "extend" || SIDES.some((side) => this.extend[side] > 0);
  }

  /** Its fields of a request. */
  request() {
    if (this.tool === "animate") return { task: "image_animation" };
    return { task: "image_outpainting", ...(this.tool === "extend" ? { extend: this.extend } : { repaint: this.area }) };
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
