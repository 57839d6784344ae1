// Puts the page together: which picture hangs on the wall, what happens to it, and which others are being made.

import * as api from "./api.js";
import { Candidates } from "./candidates.js";
import { PatchCanvas, loadImage, thumbnailOf } from "./canvas.js";
import { Easel } from "./easel.js";
import { FilmPlayer } from "./film.js";
import { Desk } from "./form.js";
import { Frame } from "./frame.js";
import { GivenPicture, GivenPictures, takeFiles } from "./given.js";
import { Pictures, drawSheet, isFilm, isRunning, nameOf, recordOf, requestOf } from "./history.js";
import { Outpainting, gridOrigin, isKnown } from "./outpainting.js";
import { follow } from "./stream.js";
import { announce, announceProgress, clearWall, describeEasel, drawRunning, drawWall } from "./wall.js";

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
const outpainting = new Outpainting();
const easel = new Easel(outpainting);
const desk = new Desk(outpainting, (request, picture, mask) => make(request, picture, { mask, fromDesk: true }));
const givens = new GivenPictures();
const film = new FilmPlayer({ onView: (isFilm) => canvas.cover(isFilm) });
const candidates = new Candidates({ onOpen: open, onCancelAll: cancelAll, known: (id) => pictures.get(id) });

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
  if (record) drawWall(record, { connection, shrunk: canvas.scale < 1, repeatable: givens.canServe(record) });
  const all = pictures.all();
  candidates.show(record);
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

async function make(request, picture = null, { mask = null, fromDesk = false } = {}) {
  desk.clearErrors();
  desk.setBusy(true);
  try {
    const answer = await api.generate(request, picture?.blob, mask);
    const jobs = answer.candidates ?? [answer];
    const [job] = jobs; // of several the first is watched; the others come to the history when they are looked at
    if (fromDesk) desk.accepted(job.seed);
    for (const { id } of picture ? jobs : []) givens.keep(id, picture);
    pictures.put(recordOf(job));
    if (answer.candidates) candidates.learn(answer);
    open(job.id);
    announce(`Queued: ${job.prompt || "a picture without words"}`);
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    desk.showProblem(problem, () => make(request, picture, { mask, fromDesk }));
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

async function cancelAll(groupId) {
  try {
    const group = await api.cancelGroup(groupId);
    candidates.learn(group);
    for (const job of group.candidates) if (pictures.get(job.id)) update(job.id, job);
  } catch (problem) {
    desk.showProblem(problem, () => cancelAll(groupId));
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

// --- Pictures to go on from ---

async function takeFile(file) {
  try {
    const picture = await GivenPicture.read(file);
    outpainting.take(picture, { tool: desk.wantsFilm || picture.isFilm ? "animate" : "extend" });
  } catch {
    return desk.fields.say(`“${file.name}” is not a picture that this browser can show, nor a film. PNG, JPEG, WebP and AVIF files can be used, and films as GIF, WebP, MP4 and WebM.`);
  }
  bringWallIntoView();
  announce(`${file.name} is on the wall`);
}

/** The same once more, with this seed, or with one that is drawn (null). */
async function makeAgain(record, seed) {
  const mask = record.masked ? await api.getMask(record.id) : null;
  await make(requestOf(record, seed), await givens.of(record), { mask });
}

/** Put a finished picture on the easel, with its words and settings. */
async function goOn(record, tool) {
  const picture = await GivenPicture.read(await api.getResult(record.id), nameOf(record));
  desk.fill({ ...record, seed: null, order: "auto" });
  outpainting.take(picture, { tool });
  bringWallIntoView();
}

/** Whenever something is done to the picture on the easel, the easel is what is to be seen. */
outpainting.onChange(() => {
  if (outpainting.picture && currentId) location.hash = "";
  else if (!currentId) drawEasel();
});

function drawEasel() {
  easel.show(outpainting.picture !== null);
  if (outpainting.picture) describeEasel(outpainting);
  else clearWall();
}

// --- The picture on the wall ---

function bringWallIntoView() {
  const { top, bottom } = byId("wall").getBoundingClientRect();
  if (top < -40 || bottom > innerHeight + 40) byId("wall").scrollIntoView({ behavior: stillness.matches ? "instant" : "smooth" });
}

function open(id) {
  bringWallIntoView();
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
  film.clear();
  if (!id) {
    candidates.show(null);
    clearWall();
    drawEasel();
    return draw();
  }
  easel.show(false);
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

function hang(record) {
  const { id, width, height, total, frames, status, model, patchPx, repaint, masked } = record;
  const given = record.given ?? (record.task === "image_animation" ? [0, 0, width, height] : null);
  // A finished picture has yet to be loaded or replayed; canvas.settle() says its status when it is there.
  canvas.layout({ width, height, total, frames, status: status === "succeeded" ? "loading" : status });
  const px = patchPx ?? desk.modelNamed(model)?.patch_px;
  frame.hang({ width, height, patchPx: px, origin: px ? gridOrigin(given, width, height, px) : [0, 0], given, growing: isRunning({ status }) });
  if (givens.get(id)) canvas.paintGiven(givens.get(id).preview, given, masked ? null : repaint);
  if (isFilm(record)) film.hang(record, status !== "succeeded");
  scheduleDraw();
}

/** A picture that stands for a finished record: itself, or the first frame of a film. */
const imageOf = (record, format) => loadImage(isFilm(record) ? api.frameUrl(record.id, 0) : api.resultUrl(record.id, format));

async function show(record) {
  hang(record);
  if (record.status !== "succeeded") return listen(record);
  // A finished picture is one file: no need to replay its patches, unless the file is already gone.
  const image = await imageOf(record, "png").catch(() => null);
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
  film.clear();
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
    pixels: isFilm(record) ? "url" : "",
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
          const { width, height, total, frames, fps, seed, order, model, patch_px: patchPx, given, sketch } = data;
          const started = pictures.get(id).started ?? api.serverNow();
          const running = isRunning(pictures.get(id));
          const status = running ? "running" : pictures.get(id).status;
          hang(change({ width, height, total, frames: frames ?? 1, fps, seed, order, model, patchPx, given, started, status, done: 0, known: 0, queuePosition: null }));
          if (running && sketch) canvas.paintSketch(sketch, [0, 0, width, height]);
          return running && announce("Started");
        }
        case "patch": {
          const { task, given, repaint, known = 0 } = pictures.get(id);
          const isGiven = task === "image_animation" ? data.frame === 0 : isKnown(data.box, given, repaint);
          paint(data, false);
          if (!isGiven) frame.landed(data.box);
          return announceProgress(change({ done: data.done, total: data.total, known: known + isGiven }, { save: false }));
        }
        case "patch.refined":
          return paint(data, true);
        case "frame":
          film.made(data.done);
          return change({ framesDone: data.done }, { save: false });
        case "job.finished":
          return end(id, { status: "succeeded", seconds: data.seconds, fit: data.fit, queuePosition: null });
        case "job.failed":
          return end(id, { status: "failed", error: data.message });
        case "job.canceled":
          return end(id, { status: "canceled", done: data.done });
      }
    }),
  });
}

const paint = (event, refined) => (event.url ? canvas.paintFrom(event, refined) : canvas.paint(event, refined));

/** A picture that was running has ended, however we heard of it: say so; by now its worker knows its pace better. */
function noticeEnd(before, record) {
  if (!before || !isRunning(before) || isRunning(record)) return;
  announce(`${END_WORDS[record.status]}: ${nameOf(record)}`);
  desk.replan();
}

const END_WORDS = { succeeded: "Finished", failed: "Failed", canceled: "Stopped" };

async function end(id, fields) {
  const before = pictures.get(id);
  const record = pictures.put({ ...before, ...fields });
  frame.rest();
  film.ended(record.status === "succeeded");
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
        const image = await imageOf(record, "jpeg").catch(() => null);
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
    outpainting.patchPx = answer.models.find(({ name }) => name === answer.default)?.patch_px ?? outpainting.patchPx;
    desk.setModels(answer);
    if (answer.models.length > 0) return;
  } catch (problem) {
    wait = problem.retryAfter ?? wait;
  }
  desk.planner.say("No worker is ready yet; pictures wait for one");
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

/** Do something with the picture on the wall; a refusal on the way is shown, and can be tried again. */
const withCurrent = (act) => async function attempt() {
  const record = pictures.get(currentId);
  if (!record) return;
  try {
    await act(record);
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    desk.showProblem(problem, attempt);
  }
};
byId("cancel").addEventListener("click", withCurrent(({ id }) => cancel(id)));
byId("again-same").addEventListener("click", withCurrent((record) => makeAgain(record, record.seed)));
byId("again-seed").addEventListener("click", withCurrent((record) => makeAgain(record, null)));
byId("extend-result").addEventListener("click", withCurrent((record) => goOn(record, "extend")));
byId("repaint-result").addEventListener("click", withCurrent((record) => goOn(record, "repaint")));
byId("animate-result").addEventListener("click", withCurrent((record) => goOn(record, "animate")));
byId("reuse").addEventListener("click", withCurrent(async (record) => desk.fill(record, await givens.of(record))));
byId("copy-link").addEventListener("click", copyLink);
addEventListener("hashchange", showFromAddress);
takeFiles({ wall: byId("wall"), input: byId("file"), onFile: takeFile });
setInterval(() => isRunning(pictures.get(currentId) ?? { gone: true }) && scheduleDraw(), 1000);

showFromAddress();
learnModels();
poll();
