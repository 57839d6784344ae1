// Several pictures of one request, in a strip below the wall: how far each is, then which fits the words best.

import { frameUrl, getGroup, resultUrl } from "./api.js";
import { loadImage, thumbnailOf } from "./canvas.js";
import { framesDone, isFilm, isRunning, recordOf } from "./history.js";
import { count } from "./words.js";

const POLL_MS = 1500;

const byId = (id) => document.getElementById(id);
const percent = (score) => `${Math.round(score * 100)} %`;
const said = (value) => value.replaceAll("_", " ");

/** What the words ask for, and whether it was found: [{found, words}], from the `fit` of a job. */
export function readings(fit) {
  return Object.entries(fit?.asked ?? {}).map(([name, values]) => {
    const read = fit.read[name];
    const found = values.includes(read);
    return { found, words: found ? said(read) : `${said(values[0])}, looks like ${said(read)}` };
  });
}

/** How a candidate stands: words below its thumbnail. */
function standing(record) {
  if (record.status === "queued") return "waiting";
  if (record.status === "running") return isFilm(record) ? `${framesDone(record)} of ${record.frames} frames` : `${record.done} of ${record.total} patches`;
  if (record.status !== "succeeded") return record.status === "failed" ? "failed" : "stopped";
  const score = record.fit?.score;
  return score === null || score === undefined ? "finished" : `fits ${percent(score)}`;
}

export class Candidates {
  #group = null; // as GET /groups/{id} says it
  #id = null; // of the group shown
  #currentId = null;
  #timer = 0;
  #thumbs = new Map(); // of the candidates that are not in the history
  #drawn = "";
  #untouched = true; // nobody has picked one: the best comes to the wall by itself

  /** onOpen(id) hangs a candidate on the wall, onCancelAll(group id); known(id) is the record of one that was there before. */
  constructor({ onOpen, onCancelAll, known }) {
    Object.assign(this, { onOpen, onCancelAll, known });
    byId("candidates-cancel").addEventListener("click", () => onCancelAll(this.#id));
  }

  /** A group as the gateway has just told it. */
  learn(group) {
    if (group.id !== this.#id) this.#begin(group.id);
    const wasRanked = this.#group?.ranked ?? true;
    this.#group = group;
    this.#draw();
    const [best] = group.candidates;
    if (!wasRanked && group.ranked && this.#untouched && best.status === "succeeded") this.onOpen(best.id);
  }

  /** A picture hangs on the wall: show the group that it is a candidate of, or none. */
  show(record) {
    this.#currentId = record?.id ?? null;
    const id = record?.group ?? null;
    if (id !== this.#id) this.#begin(id);
    this.#draw();
    if (id && !this.#timer) this.#ask();
  }

  #begin(id) {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#group = null;
    this.#id = id;
    this.#untouched = true;
    this.#thumbs.clear();
  }

  async #ask() {
    const id = this.#id;
    const again = () => this.#id === id && (this.#timer = setTimeout(() => this.#ask(), POLL_MS));
    this.#timer = -1; // asking
    if (document.hidden && this.#group) return again();
    try {
      const group = await getGroup(id);
      if (this.#id !== id) return;
      this.learn(group);
      await this.#fetchThumbs();
      if (!this.#group?.ranked) again();
    } catch (problem) {
      if (problem.status !== 404) again(); // a group that is gone leaves what was seen of it
    }
  }

  async #fetchThumbs() {
    const id = this.#id;
    for (const job of this.#group.candidates) {
      if (job.status !== "succeeded" || this.#thumbOf(job.id)) continue;
      const image = await loadImage(isFilm(job) ? frameUrl(job.id, 0) : resultUrl(job.id, "jpeg")).catch(() => null);
      if (this.#id !== id) return;
      if (image) this.#thumbs.set(job.id, thumbnailOf(image));
      this.#draw();
    }
  }

  #thumbOf(id) {
    return this.known(id)?.thumb ?? this.#thumbs.get(id);
  }

  #draw() {
    const group = this.#group;
    byId("candidates").hidden = !group;
    if (!group) return;
    const records = group.candidates.map((job) => recordOf(job, this.known(job.id)));
    const state = JSON.stringify([group.ranked, this.#currentId, records.map((record) => [record.id, standing(record), Boolean(this.#thumbOf(record.id))])]);
    if (state === this.#drawn) return; // redrawing would take the focus away while patches arrive
    this.#drawn = state;
    const hasScores = records.some(({ fit }) => typeof fit?.score === "number");
    byId("candidates-title").textContent = count(group.n, "candidate");
    byId("candidates-hint").textContent = !group.ranked ? `${group.ended} finished. The best comes first once all are.`
      : hasScores ? "Best first: how well each fits the words, as the server's own classifier reads it."
      : "In the order of their seeds: the words name nothing that could be read off a picture.";
    byId("candidates-cancel").hidden = group.ended === group.n;
    const list = byId("candidates-list");
    const focused = list.contains(document.activeElement) ? document.activeElement.closest("li").dataset.id : null;
    list.replaceChildren(...records.map((record, place) => this.#item(record, place, group.ranked && hasScores)));
    if (focused) list.querySelector(`li[data-id="${CSS.escape(focused)}"] button`)?.focus();
  }

  #item(record, place, ranked) {
    const item = document.createElement("li");
    item.className = "candidate";
    item.dataset.id = record.id;
    item.style.setProperty("--ratio", Math.min(5, Math.max(0.4, record.width / record.height)));
    const open = document.createElement("button");
    open.type = "button";
    open.setAttribute("aria-current", record.id === this.#currentId);
    const picture = document.createElement("span");
    picture.className = "sheet-picture";
    picture.toggleAttribute("data-film", isFilm(record));
    const thumb = this.#thumbOf(record.id);
    if (thumb) picture.append(Object.assign(new Image(), { src: thumb, alt: "" }));
    const words = document.createElement("span");
    words.className = "candidate-words";
    words.textContent = ranked ? `${place + 1}. ${standing(record)}` : standing(record);
    const seed = document.createElement("span");
    seed.className = "sheet-facts";
    seed.textContent = `seed ${record.seed}`;
    open.append(picture, words, seed);
    if (isRunning(record)) {
      const bar = document.createElement("span");
      bar.className = "running-bar";
      bar.style.setProperty("--part", record.total ? record.done / record.total : 0);
      open.append(bar);
    }
    open.addEventListener("click", () => {
      this.#untouched = false;
      this.onOpen(record.id);
    });
    item.append(open);
    return item;
  }
}
