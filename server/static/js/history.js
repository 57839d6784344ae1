// The pictures of this browser: what was asked, what came of it, a thumbnail; kept in localStorage.

import { ago, filmWords, sizeWords } from "./words.js";

const KEY = "nuwa.pictures.v1";
const KEEP = 60; // some 15 kB each; browsers allow 5 MB

function read(key, fallback) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? fallback;
  } catch {
    return fallback; // storage switched off, or written by something else
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export const nameOf = (record) => record.prompt || "Untitled";

export const FILM_TASKS = new Set(["text_to_video", "image_animation"]);
export const isFilm = (record) => FILM_TASKS.has(record.task);

/** Frames of a film that are finished: as its events said, else as its patches let on. */
export const framesDone = (record) => record.framesDone ?? (Math.floor((record.done / record.total) * record.frames) || 0);

const RUNNING = new Set(["queued", "running"]);
export const isRunning = (record) => RUNNING.has(record.status) && !record.gone;

/** A gateway's job body as a record of this page; `known` is what we already hold of it. */
export function recordOf(job, known = {}) {
  return {
    ...known,
    id: job.id,
    group: job.group ?? null,
    task: job.task,
    status: job.status,
    prompt: job.prompt,
    width: job.width,
    height: job.height,
    frames: job.frames ?? known.frames ?? 1,
    fps: job.fps ?? known.fps ?? null,
    seed: job.seed,
    order: job.order,
    given: job.given ?? null,
    repaint: job.repaint ?? null,
    masked: Boolean(job.links?.mask),
    fit: job.fit ?? known.fit ?? null,
    model: job.model,
    sampling: job.sampling,
    done: Math.max(job.patches_done, known.done ?? 0),
    total: job.patches_total,
    framesDone: null,
    queuePosition: job.queue_position,
    error: job.error,
    created: Date.parse(job.created_at),
    started: job.started_at ? Date.parse(job.started_at) : null,
    seconds: job.started_at && job.ended_at ? (Date.parse(job.ended_at) - Date.parse(job.started_at)) / 1000 : known.seconds ?? null,
    gone: false,
  };
}

/** What was done with the picture that a record went on from; null where there was none, or where it is not known. */
export function outpaintingOf({ task, given, width, height, repaint, masked }) {
  if (task === "image_animation") return { tool: "animate" };
  if (!given) return null;
  if (masked) return { tool: "brush" }; // what was brushed over lies at the gateway
  if (repaint) return { tool: "repaint", area: repaint };
  const extend = { left: given[0], right: width - given[2], top: given[1], bottom: height - given[3] };
  return Object.values(extend).some((px) => px > 0) ? { tool: "extend", extend } : null;
}

/** Whether there was a picture that it went on from. */
export const wentOn = ({ given, task }) => Boolean(given) || task === "image_animation";

/** The order to ask for: one for all phases may have been forced, several were chosen and will be again. */
export const orderToAsk = (order) => (new Set(order?.split("+")).size === 1 ? order.split("+")[0] : "auto");

/** The request that makes this picture again, byte for byte, or with another seed; beside it goes its given picture. */
export function requestOf(record, seed = record.seed) {
  const request = { order: orderToAsk(record.order), sampling: record.sampling, model: record.model };
  const done = outpaintingOf(record);
  if (isFilm(record)) Object.assign(request, { task: record.task, frames: record.frames, fps: record.fps });
  if (!done) Object.assign(request, { width: record.width, height: record.height });
  else if (done.tool === "extend") request.extend = done.extend;
  else if (done.tool === "repaint") request.repaint = done.area;
  if (record.prompt) request.prompt = record.prompt;
  if (seed !== null) request.seed = seed;
  return request;
}

/** Records by id, newest first, shared by all tabs of this browser. */
export class Pictures {
  constructor(onChange) {
    this.onChange = onChange;
    this.records = new Map(read(KEY, []).map((record) => [record.id, record]));
    addEventListener("storage", (event) => {
      if (event.key !== KEY) return;
      this.records = new Map(read(KEY, []).map((record) => [record.id, record]));
      onChange();
    });
  }

  get(id) {
    return this.records.get(id);
  }

  all() {
    return [...this.records.values()].sort((a, b) => b.created - a.created);
  }

  /** Change a record in memory and, unless told otherwise, on disk. */
  put(record, { save = true } = {}) {
    this.records.set(record.id, record);
    if (save) this.#save();
    this.onChange();
    return record;
  }

  remove(id) {
    this.records.delete(id);
    this.#save();
    this.onChange();
  }

  #save() {
    const kept = this.all().slice(0, KEEP);
    this.records = new Map(kept.map((record) => [record.id, record]));
    // Full storage gives up the oldest entries, never the newest.
    while (!write(KEY, kept) && kept.length > 1) kept.length = Math.floor(kept.length * 0.8);
  }
}

const STATUS_WORDS = { failed: "Failed", canceled: "Stopped" };

/** Draw the contact sheet. onOpen(id), onRemove(id). */
export function drawSheet(list, records, currentId, { onOpen, onRemove }) {
  list.replaceChildren(...records.map((record) => {
    const item = document.createElement("li");
    item.className = "sheet-item";
    item.dataset.id = record.id;
    // True proportions: a scroll lies among the squares as a scroll.
    item.style.setProperty("--ratio", Math.min(5, Math.max(0.4, record.width / record.height)));

    const open = document.createElement("button");
    open.type = "button";
    open.className = "sheet-open";
    open.setAttribute("aria-current", record.id === currentId);
    const picture = document.createElement("span");
    picture.className = "sheet-picture";
    picture.toggleAttribute("data-film", isFilm(record));
    if (record.thumb) {
      const image = new Image();
      image.src = record.thumb;
      image.alt = "";
      picture.append(image);
    }
    const title = document.createElement("span");
    title.className = "sheet-title";
    title.textContent = nameOf(record);
    const facts = document.createElement("span");
    facts.className = "sheet-facts";
    facts.textContent = [STATUS_WORDS[record.status], isFilm(record) && filmWords(record), sizeWords(record.width, record.height), `seed ${record.seed}`, ago(record.created)]
      .filter(Boolean).join(" · ");
    open.append(picture, title, facts);
    open.addEventListener("click", () => onOpen(record.id));

    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "sheet-remove";
    remove.setAttribute("aria-label", `Remove “${nameOf(record)}” from your pictures`);
    remove.innerHTML = '<svg aria-hidden="true"><use href="/static/icons/icons.svg#stop"/></svg>';
    remove.addEventListener("click", () => onRemove(record.id));

    item.append(open, remove);
    return item;
  }));
}
