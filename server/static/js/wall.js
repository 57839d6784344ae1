// What hangs on the wall: one picture, its caption, its progress and what can be done with it.

import { resultUrl, serverNow } from "./api.js";
import { readings } from "./candidates.js";
import { framesDone, isFilm, isRunning, nameOf } from "./history.js";
import { about, count, duration, filmWords, orderWords, queueWords, sizeWords } from "./words.js";

const PATCHES_BEFORE_A_GUESS = 4;
const SECONDS_BEFORE_A_GUESS = 2;

const FORMATS = { picture: ["png", "webp", "jpeg"], film: ["mp4", "webm", "webp", "gif"] };
const GIF_MAX_FPS = 50;

const byId = (id) => document.getElementById(id);
const show = (id, visible) => (byId(id).hidden = !visible);

/** How far a record is, in what its person counts: frames of a film, patches of a picture. */
function progressOf(record) {
  return isFilm(record)
    ? { done: framesDone(record), total: record.frames, all: count(record.frames, "frame") }
    : { done: record.done, total: record.total, all: count(record.total, "patch", "patches") };
}

/** Seconds still to go, from the pace since the start; null while it would only be a guess. */
function secondsLeft(record) {
  const elapsed = (serverNow() - record.started) / 1000;
  const drawn = record.done - (record.known ?? 0); // given patches are there at once and say nothing of the pace
  if (!record.started || drawn < PATCHES_BEFORE_A_GUESS || elapsed < SECONDS_BEFORE_A_GUESS) return null;
  return (elapsed / drawn) * (record.total - record.done);
}

function progressWords(record, connection) {
  if (record.gone) return "No longer on the server";
  if (connection === "reconnecting" && isRunning(record)) return "Connection lost, reconnecting";
  const { done, all } = progressOf(record);
  switch (record.status) {
    case "queued":
      return queueWords(record.queuePosition);
    case "running": {
      const left = secondsLeft(record);
      if (record.done === record.total) return `${done} of ${all} · finishing`;
      return left === null ? `${done} of ${all}` : `${done} of ${all} · ${about(left)} left`;
    }
    case "succeeded":
      return all;
    case "canceled":
      return `Stopped after ${done} of ${all}`;
    default:
      return `Failed after ${done} of ${all}`;
  }
}

function elapsedWords(record) {
  if (record.gone) return "";
  if (record.seconds !== null && record.seconds !== undefined) return `in ${duration(record.seconds)}`;
  if (record.status === "running" && record.started) return duration((serverNow() - record.started) / 1000);
  if (record.status === "queued") return duration((serverNow() - record.created) / 1000);
  return "";
}

function note(record) {
  if (record.gone && record.thumb) return "The server no longer keeps this picture; this is the small copy from your history. Its settings make it again.";
  if (record.gone) return "The server no longer knows this picture. Its settings make it again.";
  if (record.status === "failed") return record.error || "The picture could not be finished.";
  if (record.status === "queued") return `${queueWords(record.queuePosition)}. You may close this page; the picture is made all the same.`;
  return "";
}

function facts(record, shrunk) {
  const sampling = record.sampling ?? {};
  return [
    sizeWords(record.width, record.height),
    isFilm(record) && `${filmWords(record)}, ${record.fps} frames a second`,
    record.seed !== null && record.seed !== undefined && `seed ${record.seed}`,
    orderWords(record.order),
    sampling.temperature !== undefined && `temperature ${sampling.temperature}`,
    sampling.top_p !== undefined && `top-p ${sampling.top_p}`,
    sampling.cfg_scale !== undefined && `guidance ${sampling.cfg_scale}${sampling.distilled ? " in one pass" : ""}`,
    record.model,
    ...readings(record.fit).map(({ found, words }) => `${found ? "shows" : "misses"} ${words}`),
    shrunk && "shown smaller, the download has every pixel",
  ].filter(Boolean);
}

/** Facts as a line that breaks only between them, its dots never at the start of a line. */
function drawFacts(parts) {
  byId("facts").replaceChildren(...parts.flatMap((part, place) => {
    const span = document.createElement("span");
    span.textContent = part + (place < parts.length - 1 ? " ·" : "");
    return [span, " "];
  }));
}

/**
 * Show a record on the wall. `connection` is the stream's state; `shrunk` says that the canvas is smaller than the picture,
 * `repeatable` that all is at hand to make it again.
 */
export function drawWall(record, { connection, shrunk, repeatable }) {
  const state = record.gone ? "gone" : record.status;
  const running = isRunning(record);
  byId("wall").dataset.state = state;
  byId("title").textContent = nameOf(record);
  drawFacts(facts(record, shrunk));
  byId("progress-text").textContent = progressWords(record, connection);
  byId("elapsed").textContent = elapsedWords(record);
  byId("canvas").setAttribute("aria-label", `${record.prompt || "Untitled picture"}, ${progressWords(record, connection)}`);

  const words = note(record);
  show("wall-note", words !== "");
  byId("wall-note").textContent = words;
  show("caption-side", true);
  show("view", true);
  show("progress", running);
  const { done, total } = progressOf(record);
  byId("progress").setAttribute("aria-label", isFilm(record) ? "Frames done" : "Patches done");
  byId("progress").setAttribute("aria-valuemax", total);
  byId("progress").setAttribute("aria-valuenow", done);
  byId("progress-fill").style.transform = `scaleX(${record.total ? record.done / record.total : 0})`;

  const whole = state === "succeeded";
  show("cancel", running);
  const film = isFilm(record);
  show("downloads", whole);
  show("again-same", repeatable && (state === "gone" || state === "failed" || state === "canceled"));
  show("again-seed", repeatable && !running);
  for (const tool of ["extend", "repaint", "animate"]) show(`${tool}-result`, whole && !film);
  show("reuse", !running);
  show("copy-link", !record.gone);
  for (const format of ["png", "jpeg", "mp4", "webm", "webp", "gif"]) {
    const link = byId(`download-${format}`);
    link.hidden = !FORMATS[film ? "film" : "picture"].includes(format) || (format === "gif" && record.fps > GIF_MAX_FPS);
    if (whole && !link.hidden) link.href = resultUrl(record.id, format, true);
    else link.removeAttribute("href");
  }
  document.title = running && total ? `${done}/${total} · ${nameOf(record)} · Nuwa`
    : `${nameOf(record)} · Nuwa`;
}

const EASEL_TITLES = {
  extend: "Drag an edge outward to extend your picture",
  repaint: "Drag a rectangle over the part to paint anew",
  brush: "Paint over the part to make anew",
  animate: "Your picture begins to move",
};

/** What the easel shows, in words. */
export function describeEasel({ tool, picture, whole }) {
  byId("wall").dataset.state = "easel";
  byId("title").textContent = EASEL_TITLES[tool];
  drawFacts([
    `yours ${sizeWords(picture.width, picture.height)}`,
    tool === "extend" && `finished ${sizeWords(whole.width, whole.height)}`,
    { extend: "its own pixels stay as they are", animate: "it is the film's first frame, as it is" }[tool] ?? "all around that stays as it is",
  ].filter(Boolean));
}

/** Nothing chosen: the studio's own landscape hangs there. */
export function clearWall() {
  byId("wall").dataset.state = "empty";
  byId("title").textContent = "Untitled";
  byId("facts").textContent = "Describe a landscape below, or drop a picture here to go on from it. It appears patch by patch, as far to the side as you like.";
  for (const id of ["frame", "easel", "film-bar", "film-note", "candidates", "wall-note", "view", "progress", "caption-side"]) show(id, false);
  byId("canvas").dataset.status = "empty";
  document.title = "Nuwa · landscapes of any length";
}

/** The list of pictures being made besides the one on the wall. onOpen(id), onCancel(id). */
export function drawRunning(records, currentId, { onOpen, onCancel }) {
  const others = records.some((record) => record.id !== currentId);
  show("running", records.length > 0 && others);
  const list = byId("running-list");
  const focused = list.contains(document.activeElement) ? document.activeElement.closest("li")?.dataset.id : null;
  list.replaceChildren(...records.map((record) => {
    const item = document.createElement("li");
    item.dataset.id = record.id;
    const open = document.createElement("button");
    open.type = "button";
    open.className = "running-open";
    open.setAttribute("aria-current", record.id === currentId);
    const title = document.createElement("span");
    title.className = "running-title";
    title.textContent = nameOf(record);
    const state = document.createElement("span");
    state.className = "quiet";
    state.textContent = progressWords(record);
    const bar = document.createElement("span");
    bar.className = "running-bar";
    bar.style.setProperty("--part", record.total ? record.done / record.total : 0);
    open.append(title, state, bar);
    open.addEventListener("click", () => onOpen(record.id));
    const cancel = document.createElement("button");
    cancel.type = "button";
    cancel.className = "icon-button";
    cancel.setAttribute("aria-label", `Cancel “${nameOf(record)}”`);
    cancel.innerHTML = '<svg aria-hidden="true"><use href="/static/icons/icons.svg#stop"/></svg>';
    cancel.addEventListener("click", () => onCancel(record.id));
    item.append(open, cancel);
    return item;
  }));
  if (focused) list.querySelector(`li[data-id="${CSS.escape(focused)}"] .running-open`)?.focus();
}

let spoken = "";
/** Say something to screen readers, once. */
export function announce(words) {
  if (words === spoken) return;
  spoken = words;
  byId("live").textContent = words;
}

/** Quarters of a picture, said aloud; every patch would be chatter. */
export function announceProgress(record) {
  const quarter = Math.floor((4 * record.done) / record.total);
  if (quarter > 0 && quarter < 4) announce(`${record.prompt || "Picture"}: ${quarter * 25} percent done`);
}
