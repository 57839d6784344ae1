// Puts the page together: which picture hangs on the wall, what happens to it, and which others are being made.

import * as api from "./api.js";
import { PatchCanvas, loadImage, thumbnailOf } from "./canvas.js";
import { Desk } from "./form.js";
import { Frame } from "./frame.js";
import { Pictures, drawSheet, isRunning, pace, recordOf, requestOf } from "./history.js";
import { follow } from "./stream.js";
import { announce, announceProgress, clearWall, drawRunning, drawWall } from "./wall.js";

const POLL_MS = 2000;
const MODELS_RETRY_S = 5;

const stillness = matchMedia("(prefers-reduced-motion: reduce)");
const byId = (id) => document.getElementById(id);
const canvas = new PatchCanvas(byId("canvas"));
const frame = new Frame({
  frame: byId("frame"), print: byId("print"), canvas: byId("canvas"),
  fitButton: byId("view-fit"), fullButton: byId("view-full"), followButton: byId("view-follow"),
});
const pictures = new Pictures(scheduleDraw);
const desk = new Desk((request) => make(request, { fromDesk: true }));

let currentId = null;
let connection = "open";
let stopFollowing = () => {}; // one stream at most: browsers allow six connections to a server

// --- Drawing: many events may arrive in one frame, the page is drawn once ---

let drawScheduled = false;
function scheduleDraw() {
  if (drawScheduled) return;
  drawScheduled = true;
  setTimeout(draw, 30); // a timer, not an animation frame: a hidden tab's title counts on
}

function draw() {
  drawScheduled = false;
  const record = pictures.get(currentId);
  if (record) drawWall(record, { connection, shrunk: canvas.scale < 1 });
  const all = pictures.all();
  drawRunning(all.filter(isRunning), currentId, { onOpen: open, onCancel: cancel });
  drawHistory(all.filter((entry) => !isRunning(entry)));
}

let sheetDrawn = "";
function drawHistory(entries) {
  const state = JSON.stringify([currentId, entries.map(({ id, status, thumb, gone }) => [id, status, Boolean(thumb), gone])]);
  if (state === sheetDrawn) return; // redrawing would take the focus away while patches arrive
  sheetDrawn = state;
  byId("history").hidden = entries.length === 0;
  byId("history-link").hidden = entries.length === 0;
  drawSheet(byId("history-list"), entries, currentId, { onOpen: open, onRemove: remove });
}

// --- Making and ending ---

async function make(request, { fromDesk = false } = {}) {
  desk.clearErrors();
  desk.setBusy(true);
  try {
    const job = await api.generate(request);
    if (fromDesk) desk.accepted(job.seed);
    pictures.put(recordOf(job));
    open(job.id);
    announce(`Queued: ${job.prompt || "a picture without words"}`);
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    desk.showProblem(problem, () => make(request, { fromDesk }));
  } finally {
    desk.setBusy(false);
  }
}

async function cancel(id) {
  try {
    update(id, await api.cancelJob(id));
  } catch (problem) {
    if (problem.status === 404) markGone(id);
    else desk.showProblem(problem, () => cancel(id));
  }
}

function remove(id) {
  if (id === currentId) location.hash = "";
  const items = [...document.querySelectorAll(".sheet-item")];
  const place = items.findIndex((item) => item.dataset.id === id);
  pictures.remove(id);
  draw();
  const next = document.querySelectorAll(".sheet-remove");
  (next[Math.min(place, next.length - 1)] ?? byId("prompt")).focus();
}

function update(id, job) {
  const known = pictures.get(id);
  // The stream is ahead of what a poll says: an ended picture does not start again.
  if (known && !isRunning(known) && !known.gone) return known;
  return pictures.put(recordOf(job, known));
}

function markGone(id) {
  const known = pictures.get(id);
  if (known) pictures.put({ ...known, gone: true });
}

// --- The picture on the wall ---

function open(id) {
  const { top, bottom } = byId("wall").getBoundingClientRect();
  if (top < -40 || bottom > innerHeight + 40) byId("wall").scrollIntoView({ behavior: stillness.matches ? "instant" : "smooth" });
  const hash = `#job=${encodeURIComponent(id)}`;
  if (location.hash !== hash) location.hash = hash; // comes back through hashchange
  else showFromAddress();
}

async function showFromAddress() {
  const id = new URLSearchParams(location.hash.slice(1)).get("job");
  stopFollowing();
  stopFollowing = () => {};
  currentId = id;
  connection = "open";
  if (!id) {
    clearWall();
    return draw();
  }
  const known = pictures.get(id);
  if (known) hang(known);
  try {
    const job = await api.getJob(id);
    if (currentId !== id) return;
    const record = pictures.put(recordOf(job, known));
    noticeEnd(known, record);
    show(record);
  } catch (problem) {
    if (currentId !== id) return;
    if (problem.status === 404) showGone(id);
    else if (known && isRunning(known)) listen(known); // the stream has its own patience
    else desk.showProblem(problem, showFromAddress);
  }
}

function hang({ width, height, total, status, model, patchPx }) {
  canvas.layout({ width, height, total, status });
  frame.hang({ width, height, patchPx: patchPx ?? desk.modelNamed(model)?.patch_px, growing: isRunning({ status }) });
  scheduleDraw();
}

async function show(record) {
  hang(record);
  if (record.status !== "succeeded") return listen(record);
  // A finished picture is one file: no need to replay its patches, unless the file is already gone.
  const image = await loadImage(api.resultUrl(record.id, "png")).catch(() => null);
  if (currentId !== record.id) return;
  if (!image) return listen(record);
  canvas.paintWhole(image, record.total);
  await canvas.settle(record.status);
  if (!record.thumb) pictures.put({ ...record, thumb: canvas.thumbnail() });
}

async function showGone(id) {
  const known = pictures.get(id);
  if (!known) {
    location.hash = "";
    return desk.showProblem(new api.Problem({
      detail: "Its time has passed, or the address is not complete. Make a new one here.", status: 404,
    }));
  }
  hang(known);
  markGone(id);
  const image = known.thumb && await loadImage(known.thumb).catch(() => null);
  if (currentId !== id) return;
  if (image) canvas.paintWhole(image, known.done);
  frame.rest();
  await canvas.settle("gone");
}

function listen(record) {
  const { id } = record;
  const change = (fields, options) => pictures.put({ ...pictures.get(id), ...fields }, options);
  const mine = (act) => (...values) => currentId === id && act(...values);
  stopFollowing = follow(id, {
    onConnection: mine((state) => {
      connection = state;
      scheduleDraw();
    }),
    onGone: mine(() => showGone(id)),
    onEnded: mine((job) => end(id, recordOf(job, pictures.get(id)))),
    onEvent: mine((kind, data) => {
      connection = "open";
      switch (kind) {
        case "job.started": {
          const { width, height, total, seed, order, model, patch_px: patchPx } = data;
          const started = pictures.get(id).started ?? api.serverNow();
          const running = isRunning(pictures.get(id));
          const status = running ? "running" : pictures.get(id).status;
          hang(change({ width, height, total, seed, order, model, patchPx, started, status, done: 0, queuePosition: null }));
          return running && announce("Started");
        }
        case "patch":
          canvas.paint(data, false);
          frame.landed(data.box);
          return announceProgress(change({ done: data.done, total: data.total }, { save: false }));
        case "patch.refined":
          return canvas.paint(data, true);
        case "job.finished":
          return end(id, { status: "succeeded", seconds: data.seconds, queuePosition: null });
        case "job.failed":
          return end(id, { status: "failed", error: data.message });
        case "job.canceled":
          return end(id, { status: "canceled", done: data.done });
      }
    }),
  });
}

/** A picture that was running has ended, however we heard of it: say so, and learn how long its patches took. */
function noticeEnd(before, record) {
  if (!before || !isRunning(before) || isRunning(record)) return;
  announce(`${END_WORDS[record.status]}: ${record.prompt || "Untitled"}`);
  if (record.status === "succeeded" && record.seconds) pace.learn(record.model, record.seconds, record.total);
}

const END_WORDS = { succeeded: "Finished", failed: "Failed", canceled: "Stopped" };

async function end(id, fields) {
  const before = pictures.get(id);
  const record = pictures.put({ ...before, ...fields });
  frame.rest();
  noticeEnd(before, record);
  // The picture's status is said on the canvas only when its last patch is to be seen.
  if (await canvas.settle(record.status) && record.done > 0) pictures.put({ ...pictures.get(id), thumb: canvas.thumbnail() });
}

// --- What goes on besides: waiting pictures, pictures not on the wall, the clock ---

async function poll() {
  for (const record of document.hidden ? [] : pictures.all().filter(isRunning)) {
    if (record.id === currentId && record.status !== "queued") continue; // its stream says more
    try {
      const job = await api.getJob(record.id);
      const now = update(record.id, job);
      if (record.id !== currentId && now.status === "succeeded") {
        const image = await loadImage(api.resultUrl(record.id, "jpeg")).catch(() => null);
        if (image) pictures.put({ ...now, thumb: thumbnailOf(image) });
      }
      noticeEnd(record, now);
    } catch (problem) {
      if (problem.status === 404 && record.id !== currentId) markGone(record.id);
    }
  }
  setTimeout(poll, POLL_MS);
}

async function learnModels() {
  let wait = MODELS_RETRY_S;
  try {
    const answer = await api.getModels();
    desk.setModels(answer);
    if (answer.models.length > 0) return;
  } catch (problem) {
    wait = problem.retryAfter ?? wait;
  }
  byId("estimate").textContent = "No worker is ready yet; pictures wait for one";
  setTimeout(learnModels, wait * 1000);
}

async function copyLink() {
  const text = byId("copy-link-text");
  try {
    await navigator.clipboard.writeText(location.href);
    text.textContent = "Copied";
  } catch {
    text.textContent = "Copy it from the address bar"; // browsers keep the clipboard from plain http pages
  }
  announce(text.textContent);
  setTimeout(() => (text.textContent = "Copy link"), 2500);
}

const withCurrent = (act) => () => pictures.get(currentId) && act(pictures.get(currentId));
byId("cancel").addEventListener("click", withCurrent(({ id }) => cancel(id)));
byId("again-same").addEventListener("click", withCurrent((record) => make(requestOf(record))));
byId("again-seed").addEventListener("click", withCurrent((record) => make(requestOf(record, null))));
byId("reuse").addEventListener("click", withCurrent((record) => desk.fill(record)));
byId("copy-link").addEventListener("click", copyLink);
addEventListener("hashchange", showFromAddress);
setInterval(() => isRunning(pictures.get(currentId) ?? { gone: true }) && scheduleDraw(), 1000);

showFromAddress();
learnModels();
poll();
