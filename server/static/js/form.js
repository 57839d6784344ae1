// The desk: reads a request from the form, writes one into it, and shows refusals at the field they speak of.

import { PictureFields } from "./fields.js";
import { isFilm, orderToAsk, outpaintingOf } from "./history.js";
import { Planner } from "./plan.js";
import { filmWords } from "./words.js";

const SIZES = [
  { name: "Square", width: 256, height: 256 },
  { name: "Landscape", width: 512, height: 256 },
  { name: "Large", width: 512, height: 512 },
  { name: "Panorama", width: 1024, height: 256 },
  { name: "Scroll", width: 1536, height: 256 },
  { name: "Mural", width: 2048, height: 512 },
];
const FIRST_SIZE = "512x256";
const SEED_MAX = 2 ** 32 - 1;
const CANDIDATES = [1, 2, 3, 4, 6, 8];
const PROMPT_HINTS = {
  picture: "Left empty, the picture is a surprise.",
  film: "A film needs words. “Panning right”, “a still camera” or “time-lapse” say what moves.",
  animation: "Words are optional. “Panning right”, “a still camera” or “time-lapse” say what moves.",
};
const KNOBS = { temperature: 1, top_p: 0.98, cfg_scale: 4 };
const IN_DETAILS = new Set([...Object.keys(KNOBS), "distilled", "order", "model"]);

const TITLES = { 404: "Not on the server.", 429: "The queue is full.", 503: "The server is not ready." };

const byId = (id) => document.getElementById(id);
const numberIn = (id) => (byId(id).value === "" ? NaN : Number(byId(id).value));
const rollSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

export class Desk {
  /** onSubmit(request, picture, mask) is called with a request that passed the checks made here; null for none. */
  constructor(outpainting, onSubmit) {
    this.outpainting = outpainting;
    this.onSubmit = onSubmit;
    this.models = [];
    this.countdown = 0;
    this.fields = new PictureFields(outpainting);
    this.planner = new Planner({
      onAccepted: () => {
        if (outpainting.picture) this.fields.say("");
        this.#clearFieldErrors();
      },
      onRefused: ({ errors }) => errors.forEach(({ pointer, message }) => this.#showAtField(pointer, message)),
    });
    outpainting.onChange(() => {
      if (outpainting.picture) this.#choose("kind", outpainting.tool === "animate" ? "film" : "picture");
      this.#refresh();
    });
    this.#drawSizes();
    byId("n").replaceChildren(...CANDIDATES.map((n) => new Option(n === 1 ? "just one" : `${n}, best first`, n)));
    this.#listen();
    this.#refresh();
  }

  /** What GET /models said: limits, patch size and orders shape the form. */
  setModels({ models, default: first }) {
    this.models = models;
    this.defaultModel = first;
    byId("model").replaceChildren(...models.map(({ name }) => new Option(name, name, name === first, name === first)));
    byId("model-row").hidden = models.length < 2;
    this.fields.setLimits(this.model?.limits);
    const most = this.model?.limits.max_candidates ?? 1;
    for (const option of byId("n").options) option.hidden = option.disabled = Number(option.value) > most;
    this.replan();
  }

  get model() {
    return this.models.find(({ name }) => name === byId("model").value) ?? this.models[0];
  }

  /** Whether guidance in one pass makes a difference: to pictures, of a model that has learned it. */
  get #canDistil() {
    return this.model?.distilled_scale > 1 && !this.wantsFilm;
  }

  modelNamed(name) {
    return this.models.find((model) => model.name === name);
  }

  /** Whether a film is asked for, not a picture. */
  get wantsFilm() {
    return this.#chosen("kind") === "film";
  }

  /** Ask for the price again: something beside the form has changed it. */
  replan() {
    this.planner.forget();
    this.#refresh();
  }

  /** The request as it stands. Numbers that cannot be read come out as NaN. */
  request() {
    const { picture } = this.outpainting;
    const [width, height] = this.#size();
    const prompt = byId("prompt").value.trim().replace(/\s+/g, " ");
    const seed = byId("seed").value.trim();
    const sampling = Object.fromEntries(Object.keys(KNOBS).map((name) => [name, Number(byId(name).value)]));
    if (this.#canDistil && byId("distilled").checked) sampling.distilled = true;
    return {
      ...(prompt && { prompt }),
      ...(this.wantsFilm && { task: "text_to_video", frames: numberIn("frames"), fps: numberIn("fps") }),
      ...(picture ? this.outpainting.request() : { width, height }),
      order: byId("order").value,
      ...(seed && { seed: /^\d+$/.test(seed) ? Number(seed) : NaN }),
      sampling,
      ...(byId("n").value !== "1" && { n: Number(byId("n").value) }),
      ...(this.models.length > 1 && { model: this.model.name }),
    };
  }

  /** Put the settings of a picture into the form, and the picture that it went on from (null for none) on the easel. */
  fill(record, picture = null) {
    const { prompt, width, height, seed, order, sampling, model } = record;
    byId("prompt").value = prompt ?? "";
    if (!record.given) {
      this.#choose("size", SIZES.some((size) => size.width === width && size.height === height) ? `${width}x${height}` : "custom");
      byId("width").value = width;
      byId("height").value = height;
    }
    this.#choose("kind", isFilm(record) ? "film" : "picture");
    for (const name of isFilm(record) ? ["frames", "fps"] : []) byId(name).value = record[name];
    byId("n").value = "1";
    byId("seed").value = seed ?? "";
    byId("order").value = orderToAsk(order);
    for (const [name, usual] of Object.entries(KNOBS)) byId(name).value = sampling?.[name] ?? usual;
    byId("distilled").checked = sampling?.distilled ?? false;
    if (this.modelNamed(model)) byId("model").value = model;
    this.clearErrors();
    if (picture) this.outpainting.take(picture, outpaintingOf(record) ?? {});
    else this.outpainting.remove();
    byId("prompt").focus({ preventScroll: true });
    byId("desk").scrollIntoView({ block: "start" });
  }

  /** A job was made from the form: the seed stays only if asked to. */
  accepted(seed) {
    byId("seed").value = byId("keep-seed").checked ? seed : "";
    byId("plan").open = false;
    this.clearErrors();
  }

  setBusy(busy) {
    byId("generate").setAttribute("aria-busy", busy);
    byId("generate").disabled = busy;
  }

  clearErrors() {
    clearInterval(this.countdown);
    byId("banner").hidden = true;
    this.fields.say("");
    this.#clearFieldErrors();
  }

  #clearFieldErrors() {
    for (const error of document.querySelectorAll(".field-error:not(#image-error)")) error.hidden = true;
    for (const field of document.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  }

  /** Show a refusal; `retry` is called by itself when the gateway said when, and by the button. */
  showProblem(problem, retry) {
    this.clearErrors();
    const elsewhere = problem.errors.filter(({ pointer, message }) => !this.#showAtField(pointer, message));
    if (problem.errors.length > elsewhere.length) {
      document.querySelector("[aria-invalid]")?.focus();
      if (elsewhere.length === 0) return;
    }
    // The gateway's titles are HTTP's words for a status; its details are for people.
    byId("banner-title").textContent = TITLES[problem.status] ?? (problem.status >= 400 ? "That did not work." : problem.title);
    byId("banner-detail").textContent = elsewhere.length > 0
      ? elsewhere.map(({ pointer, message }) => `${pointer}: ${message}`).join(" ") : problem.detail;
    byId("banner").hidden = false;
    byId("banner-retry").hidden = !(problem.passing || problem.status === 0);
    byId("banner-retry").onclick = retry;
    byId("banner-countdown").textContent = "";
    if (problem.passing && problem.retryAfter !== null) this.#countDown(problem.retryAfter, retry);
  }

  #countDown(seconds, retry) {
    const until = Date.now() + seconds * 1000;
    const tick = () => {
      const left = Math.ceil((until - Date.now()) / 1000);
      byId("banner-countdown").textContent = `Trying again in ${Math.max(0, left)} s.`;
      if (left > 0) return;
      clearInterval(this.countdown);
      retry();
    };
    tick();
    this.countdown = setInterval(tick, 250);
  }

  #showAtField(pointer, message) {
    const parts = (pointer ?? "").split("/").filter(Boolean);
    // /sampling/top_p is the field top_p, /extend/left the field extend-left, whose mistakes are told below all four.
    const names = [parts.join("-"), parts.at(-1), parts[0]].filter(Boolean);
    const place = names.map((name) => byId(`${name}-error`)).find(Boolean);
    let field = names.map(byId).find(Boolean);
    if (!field || !place) return false;
    if ((field.id === "width" || field.id === "height") && byId("custom-size").hidden) {
      this.#choose("size", "custom");
      byId("custom-size").hidden = false;
    }
    if (field.closest("[hidden]")) return false;
    if (IN_DETAILS.has(field.id)) byId("more").open = true;
    if (!field.matches("input, select, textarea")) field = [...field.querySelectorAll("input, select, button")].find((part) => part.checkVisibility());
    place.textContent = message;
    place.hidden = false;
    field.setAttribute("aria-invalid", "true");
    return true;
  }

  /** Mistakes that need no server to be seen, in the shape the gateway uses. */
  #mistakes({ prompt, width, height, seed, frames, fps }) {
    const limits = this.model?.limits;
    const { picture } = this.outpainting;
    const errors = [];
    if (picture?.tooLarge(limits)) errors.push({ pointer: "/image", message: picture.tooLarge(limits) });
    if (picture && !this.outpainting.asksForSomething) {
      errors.push(this.outpainting.tool === "brush" ? { pointer: "/mask", message: "Nothing is marked yet: paint over the part to make anew." }
        : { pointer: "/extend", message: "Nothing is added yet: drag an edge of the picture outward, or type how many pixels." });
    }
    for (const [name, value, most] of [["width", width, limits?.max_width], ["height", height, limits?.max_height]]) {
      if (picture) break;
      if (!Number.isInteger(value) || value < 1) errors.push({ pointer: `/${name}`, message: "Must be a whole number of pixels, 1 or more." });
      else if (most && value > most) errors.push({ pointer: `/${name}`, message: `Must be at most ${most.toLocaleString("en")} pixels.` });
    }
    if (this.wantsFilm) {
      const { max_frames: most = Infinity, max_fps: fastest = 60 } = limits ?? {};
      if (!picture && !prompt) errors.push({ pointer: "/prompt", message: "A film needs words that say what it shows, or a picture to begin with." });
      if (!Number.isInteger(frames) || frames < 1) errors.push({ pointer: "/frames", message: "Must be a whole number of frames, 1 or more." });
      else if (frames > most) errors.push({ pointer: "/frames", message: `Must be at most ${most.toLocaleString("en")} frames.` });
      if (!Number.isInteger(fps) || fps < 1 || fps > fastest) errors.push({ pointer: "/fps", message: `Must be a whole number from 1 to ${fastest}.` });
    }
    if (seed !== undefined && !(seed <= SEED_MAX)) {
      errors.push({ pointer: "/seed", message: `Must be a whole number from 0 to ${SEED_MAX}, or empty for a new one.` });
    }
    return errors;
  }

  async #submit() {
    const request = this.request();
    const errors = this.#mistakes(request);
    if (errors.length > 0) return this.showProblem({ title: "Please check the marked fields.", detail: "", errors });
    this.onSubmit(request, this.outpainting.picture, await this.outpainting.mask());
  }

  #size() {
    const chosen = this.#chosen("size");
    if (chosen !== "custom") return chosen.split("x").map(Number);
    return ["width", "height"].map(numberIn);
  }

  #chosen(name) {
    return document.querySelector(`input[name="${name}"]:checked`).value;
  }

  #choose(name, value) {
    document.querySelector(`input[name="${name}"][value="${value}"]`).checked = true;
  }

  #drawSizes() {
    const choices = [...SIZES, { name: "Custom", width: 0, height: 0 }];
    byId("size-row").replaceChildren(...choices.map(({ name, width, height }) => {
      const value = width ? `${width}x${height}` : "custom";
      const label = document.createElement("label");
      label.className = "size";
      label.innerHTML = `<input type="radio" name="size" value="${value}"><span class="size-shape" aria-hidden="true"><i></i></span>
        <span class="size-name">${name}</span><span class="size-px">${width ? `${width} × ${height}` : "any, in px"}</span>`;
      label.querySelector("input").checked = value === FIRST_SIZE;
      // Drawn to one scale, so the choice shows how much longer a scroll is than a square.
      const shape = label.querySelector("i");
      shape.style.width = width ? `${width / 28}px` : "20px";
      shape.style.height = height ? `${height / 28}px` : "14px";
      return label;
    }));
  }

  #listen() {
    const desk = byId("desk");
    desk.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    desk.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.#submit();
      }
    });
    desk.addEventListener("input", (event) => {
      for (const name of [event.target.id, event.target.id.split("-")[0]]) {
        const place = byId(`${name}-error`);
        if (place) place.hidden = true;
      }
      event.target.removeAttribute("aria-invalid");
      if (event.target.name === "kind" && this.outpainting.picture) this.outpainting.setTool(this.wantsFilm ? "animate" : "extend");
      this.#refresh();
    });
    for (const example of document.querySelectorAll(".examples button")) {
      example.addEventListener("click", () => {
        byId("prompt").value = example.textContent;
        this.#refresh();
        byId("prompt").focus({ preventScroll: true });
      });
    }
    byId("dice").addEventListener("click", () => {
      byId("seed").value = rollSeed();
      byId("seed-error").hidden = true;
      byId("seed").removeAttribute("aria-invalid");
    });
    byId("defaults").addEventListener("click", () => {
      for (const [name, usual] of Object.entries(KNOBS)) byId(name).value = usual;
      byId("distilled").checked = false;
      byId("order").value = "auto";
      this.#refresh();
    });
    byId("banner-close").addEventListener("click", () => this.clearErrors());
    if (/Mac|iPhone|iPad/.test(navigator.platform)) byId("shortcut").textContent = "⌘ Enter";
  }

  #refresh() {
    const prompt = byId("prompt");
    prompt.style.height = "auto"; // so that it can shrink, too
    prompt.style.height = `${prompt.scrollHeight}px`;
    const { picture } = this.outpainting;
    byId("sizes").hidden = picture !== null;
    byId("custom-size").hidden = this.#chosen("size") !== "custom";
    byId("film-fields").hidden = !this.wantsFilm;
    byId("film-length").textContent = this.#filmWords();
    byId("prompt-hint").textContent = PROMPT_HINTS[this.wantsFilm ? (picture ? "animation" : "film") : "picture"];
    const changed = [];
    for (const [name, usual] of Object.entries(KNOBS)) {
      const value = Number(byId(name).value);
      byId(`${name}-value`).textContent = String(value);
      if (value !== usual) changed.push(`${name === "cfg_scale" ? "guidance" : name.replace("_", "-")} ${value}`);
    }
    byId("distilled-row").hidden = !this.#canDistil;
    if (this.#canDistil && byId("distilled").checked) changed.push("in one pass");
    byId("more-summary").textContent = changed.join(", ");
    const orders = this.model?.orders;
    for (const option of byId("order").options) option.disabled = Boolean(orders) && option.value !== "auto" && !orders.includes(option.value);
    const request = this.request();
    this.planner.ask(this.model && this.#mistakes(request).length === 0 ? request : null, this.outpainting);
  }

  #filmWords() {
    const film = { frames: numberIn("frames"), fps: numberIn("fps") };
    return film.frames > 0 && film.fps > 0 ? `A ${filmWords(film)}, without sound.` : "";
  }
}
