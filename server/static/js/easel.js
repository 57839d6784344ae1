// A picture of one's own on the wall: its four edges can be moved outward, a rectangle laid over a part of it, or a part
// brushed over; or it stands there as the first frame of a film.

import { drawStrokes } from "./brush.js";
import { SIDES, SIDE_MAX, gridOrigin } from "./outpainting.js";

const ENLARGE_MAX = 2;
const MARGIN = { part: 0.12, leastX: 52, leastY: 46 }; // of the wall, to drag into
const A_CLICK_PX = 4; // a pointer that moved less did not mean to draw a rectangle
const TOOLS = ["extend", "repaint", "brush", "animate"];
const LEAPS = { PageUp: 4, PageDown: -4 };

const byId = (id) => document.getElementById(id);

/** How far outward a step of (x, y) goes for an edge. */
const outward = (side, x, y) => ({ left: -x, right: x, top: -y, bottom: y })[side];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Easel {
  #held = null; // scale and place of the picture, which stay while something is dragged
  #edges = {};

  constructor(outpainting) {
    this.state = outpainting;
    this.element = byId("easel");
    this.sheet = byId("easel-sheet");
    this.canvas = byId("easel-picture");
    this.area = byId("easel-area");
    this.strokes = byId("easel-strokes");
    for (const side of SIDES) this.#edges[side] = this.#makeEdge(side);
    this.#listenToArea();
    this.#listenToBrush();
    for (const tool of TOOLS) byId(`tool-${tool}`).addEventListener("click", () => outpainting.setTool(tool));
    outpainting.onChange(() => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  show(visible) {
    this.element.hidden = !visible;
    this.draw();
  }

  draw() {
    const { picture, tool, extend } = this.state;
    if (!picture || this.element.hidden || this.element.clientWidth === 0) return;
    const { scale, left, top } = this.#held ?? this.#fitted();
    const { whole, given } = this.state;
    place(this.sheet, left - given[0] * scale, top - given[1] * scale, whole.width * scale, whole.height * scale);
    place(this.canvas, given[0] * scale, given[1] * scale, picture.width * scale, picture.height * scale);
    this.#drawCells(whole, given, scale);
    if (this.shown !== picture) this.#paint(picture);
    for (const side of SIDES) {
      const edge = this.#edges[side];
      const px = extend[side];
      edge.hidden = tool !== "extend";
      edge.setAttribute("aria-valuenow", px);
      edge.setAttribute("aria-valuetext", px === 1 ? "1 pixel" : `${px} pixels`);
      edge.firstElementChild.textContent = px > 0 ? `+${px} px` : "";
    }
    const { left: x, top: y, width, height } = this.state.area;
    this.area.hidden = tool !== "repaint";
    place(this.area, x * scale, y * scale, width * scale, height * scale);
    this.area.setAttribute("aria-label", `Part to paint anew: ${width} by ${height} pixels, ${x} from the left, ${y} from the top. Arrow keys move it, with Shift they size it.`);
    this.area.dataset.size = `${width} × ${height} px`;
    this.strokes.hidden = tool !== "brush";
    place(this.strokes, given[0] * scale, given[1] * scale, picture.width * scale, picture.height * scale);
    if (tool === "brush") this.#drawStrokes();
    this.sheet.dataset.tool = tool;
    for (const name of TOOLS) byId(`tool-${name}`).setAttribute("aria-pressed", name === tool);
    this.scale = scale;
  }

  /** As large as the wall allows with room left to drag an edge into. */
  #fitted() {
    const { clientWidth: wide, clientHeight: high } = this.element;
    const { whole, given } = this.state;
    const room = {
      x: wide - 2 * Math.max(MARGIN.leastX, wide * MARGIN.part),
      y: high - 2 * Math.max(MARGIN.leastY, high * MARGIN.part),
    };
    const scale = Math.min(room.x / whole.width, room.y / whole.height, ENLARGE_MAX);
    return {
      scale,
      left: (wide - whole.width * scale) / 2 + given[0] * scale,
      top: (high - whole.height * scale) / 2 + given[1] * scale,
    };
  }

  #drawCells(whole, given, scale) {
    const px = this.state.patchPx;
    const [x, y] = gridOrigin(given, whole.width, whole.height, px);
    this.sheet.style.setProperty("--cell", `${px * scale}px`);
    this.sheet.style.setProperty("--cell-x", `${-x * scale}px`);
    this.sheet.style.setProperty("--cell-y", `${-y * scale}px`);
  }

  #paint(picture) {
    this.shown = picture;
    this.canvas.width = picture.preview.width;
    this.canvas.height = picture.preview.height;
    this.canvas.getContext("2d").drawImage(picture.preview, 0, 0);
    this.canvas.setAttribute("aria-label", `${picture.name}, ${picture.width} by ${picture.height} pixels`);
  }

  #drawStrokes() {
    const { picture, strokes } = this.state;
    const { width, height } = picture.preview;
    if (this.drawn === strokes && this.strokes.width === width && this.strokes.height === height) return;
    this.drawn = strokes;
    Object.assign(this.strokes, { width, height }); // which also empties it
    const colour = getComputedStyle(this.strokes).getPropertyValue("--seal");
    drawStrokes(this.strokes.getContext("2d"), strokes, width / picture.width, colour);
  }

  #listenToBrush() {
    this.#drag(this.strokes, (event) => {
      const box = this.strokes.getBoundingClientRect();
      const start = { x: (event.clientX - box.left) / this.scale, y: (event.clientY - box.top) / this.scale };
      const goOn = this.state.beginStroke(start);
      return (x, y) => goOn({ x: start.x + x / this.scale, y: start.y + y / this.scale });
    });
  }

  #makeEdge(side) {
    const edge = document.createElement("div");
    edge.className = "edge";
    edge.dataset.side = side;
    edge.tabIndex = 0;
    const attributes = {
      role: "slider", "aria-label": `Extend at the ${side}`, "aria-valuemin": 0, "aria-valuemax": SIDE_MAX,
      "aria-orientation": side === "left" || side === "right" ? "horizontal" : "vertical",
    };
    for (const [name, value] of Object.entries(attributes)) edge.setAttribute(name, value);
    edge.append(document.createElement("span"));
    this.sheet.append(edge);

    const snapped = (px) => Math.round(px / this.state.step) * this.state.step;
    this.#drag(edge, () => {
      const before = this.state.extend[side];
      return (x, y) => this.state.setEdge(side, snapped(before + outward(side, x, y) / this.scale));
    });
    edge.addEventListener("keydown", (event) => {
      const before = this.state.extend[side];
      const [x, y] = ARROWS[event.key] ?? [0, 0];
      const steps = LEAPS[event.key] ?? outward(side, x, y);
      if (event.key === "Home") this.state.setEdge(side, 0);
      else if (steps) this.state.setEdge(side, snapped(before) + steps * this.state.step);
      else return;
      event.preventDefault();
    });
    return edge;
  }

  #listenToArea() {
    // Inside the rectangle a drag moves it; anywhere else on the picture it draws a new one.
    this.#drag(this.area, () => {
      const { left, top, width, height } = this.state.area;
      const snapped = (px) => Math.round(px / this.state.step) * this.state.step;
      return (x, y) => this.state.setArea({ left: snapped(left + x / this.scale), top: snapped(top + y / this.scale), width, height });
    });
    this.#drag(this.canvas, (event) => {
      if (this.state.tool !== "repaint") return null;
      const box = this.canvas.getBoundingClientRect();
      const start = { x: (event.clientX - box.left) / this.scale, y: (event.clientY - box.top) / this.scale };
      return (x, y) => Math.hypot(x, y) >= A_CLICK_PX && this.state.setCorners(start, { x: start.x + x / this.scale, y: start.y + y / this.scale });
    });
    this.area.addEventListener("keydown", (event) => {
      const arrow = ARROWS[event.key];
      if (!arrow) return;
      event.preventDefault();
      const [x, y] = arrow.map((way) => way * this.state.step);
      const { left, top, width, height } = this.state.area;
      this.state.setArea(event.shiftKey ? { left, top, width: width + x, height: height + y } : { left: left + x, top: top + y, width, height });
    });
  }

  /** Drag an element with mouse, pen or finger: begin(event) gives what is called with each distance, or null. */
  #drag(element, begin) {
    let move = null;
    let from = null;
    element.addEventListener("pointerdown", (event) => {
      move = event.button === 0 && event.isPrimary ? begin(event) : null;
      if (!move) return;
      event.preventDefault();
      from = event;
      this.#held = this.#fitted();
      this.element.toggleAttribute("data-held", true);
      element.setPointerCapture(event.pointerId);
      element.focus({ preventScroll: true });
    });
    element.addEventListener("pointermove", (event) => move?.(event.clientX - from.clientX, event.clientY - from.clientY));
    element.addEventListener("lostpointercapture", () => {
      move = null;
      this.#held = null;
      this.element.toggleAttribute("data-held", false);
      this.draw();
    });
  }
}

function place(element, left, top, width, height) {
  Object.assign(element.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
}
