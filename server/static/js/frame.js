// How the picture hangs in its frame: fitted or at full size, and scrolled along with the patches being made.

const ENLARGE_MAX = 2.5;
const FIT_WORTH_SEEING = 0.55; // below this a fitted scroll is a thin ribbon: begin at full size instead

const stillness = matchMedia("(prefers-reduced-motion: reduce)");

export class Frame {
  constructor({ frame, print, canvas, fitButton, fullButton, followButton }) {
    Object.assign(this, { frame, print, canvas, fitButton, fullButton, followButton });
    this.size = null;
    this.front = null;
    fitButton.addEventListener("click", () => this.#setMode("fit"));
    fullButton.addEventListener("click", () => this.#setMode("full"));
    followButton.addEventListener("click", () => this.#setFollowing(true));
    // Only a person's own scrolling ends the following; scroll events alone cannot tell theirs from ours.
    for (const kind of ["wheel", "touchmove", "pointerdown"]) {
      frame.addEventListener(kind, () => this.#setFollowing(false), { passive: true });
    }
    frame.addEventListener("keydown", (event) => event.key.startsWith("Arrow") && this.#setFollowing(false));
    new ResizeObserver(() => this.#apply()).observe(frame);
  }

  /** Hang a picture; patchPx null where the patches' size is not known, origin its corner on the grid of patches. */
  hang({ width, height, patchPx, origin, given, growing }) {
    this.size = { width, height, patchPx, origin };
    this.growing = growing;
    this.following = true;
    this.front = null;
    this.frame.hidden = false;
    this.mode = this.#fitScale() < FIT_WORTH_SEEING ? "full" : "fit";
    this.frame.scrollTo(0, 0);
    this.#apply();
    if (given) this.landed(given); // what is there already is the first to be seen
  }

  /** The picture has stopped growing: nothing to follow any more. */
  rest() {
    this.growing = false;
    this.#showControls();
  }

  /** A patch has landed at box (pixels): keep the front in view. */
  landed([left, top, right, bottom]) {
    const centre = { x: (left + right) / 2, y: (top + bottom) / 2 };
    // Several rows grow at once, so the newest patch jumps to and fro: follow their average.
    this.front = this.front
      ? { x: this.front.x * 0.6 + centre.x * 0.4, y: this.front.y * 0.6 + centre.y * 0.4 }
      : centre;
    if (this.following && this.growing) this.#scrollToFront();
  }

  #fitScale() {
    const style = getComputedStyle(this.frame);
    const margin = parseFloat(getComputedStyle(this.print).marginLeft) * 2;
    const wide = (this.frame.clientWidth - margin) / this.size.width;
    const high = (parseFloat(style.getPropertyValue("--picture-height")) / 100) * window.innerHeight / this.size.height;
    return Math.min(wide, high, ENLARGE_MAX);
  }

  #setMode(mode) {
    this.mode = mode;
    this.#apply();
    if (this.following && this.front) this.#scrollToFront();
  }

  #setFollowing(following) {
    this.following = following;
    if (following && this.front) this.#scrollToFront();
    this.#showControls();
  }

  #apply() {
    if (!this.size) return;
    const scale = this.mode === "fit" ? this.#fitScale() : 1;
    const { width, height, patchPx, origin } = this.size;
    this.scale = scale;
    this.canvas.style.width = `${width * scale}px`;
    this.canvas.style.height = `${height * scale}px`;
    this.print.style.setProperty("--cell", patchPx ? `${patchPx * scale}px` : "100%");
    this.print.style.setProperty("--cell-x", `${-origin[0] * scale}px`);
    this.print.style.setProperty("--cell-y", `${-origin[1] * scale}px`);
    this.#showControls();
  }

  #showControls() {
    if (!this.size) return;
    const larger = this.frame.scrollWidth > this.frame.clientWidth + 1 || this.frame.scrollHeight > this.frame.clientHeight + 1;
    this.fitButton.setAttribute("aria-pressed", this.mode === "fit");
    this.fullButton.setAttribute("aria-pressed", this.mode === "full");
    this.followButton.hidden = !(larger && this.growing && !this.following);
  }

  #scrollToFront() {
    const { frame, canvas, scale } = this;
    const x = canvas.offsetLeft + this.front.x * scale - frame.clientWidth / 2;
    const y = canvas.offsetTop + this.front.y * scale - frame.clientHeight / 2;
    const near = Math.abs(frame.scrollLeft - x) < frame.clientWidth * 0.15 && Math.abs(frame.scrollTop - y) < frame.clientHeight * 0.3;
    if (!near) frame.scrollTo({ left: x, top: y, behavior: stillness.matches ? "instant" : "smooth" });
  }
}
