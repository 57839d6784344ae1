// What a film is shown on: a video element, fed with a film that still grows or with a finished file; or, where a browser
// plays no H.264, a canvas onto which frames are painted one by one. All of them answer to the same few words:
// length (frames that can be shown now), frame (the one shown), play(), pause(), seek(frame), made(count), close().

import { frameUrl, getFrame, openFilm, resultUrl } from "./api.js";

const H264 = 'video/mp4; codecs="avc1.640028"';
const Source = globalThis.ManagedMediaSource ?? globalThis.MediaSource;
const LONGEST_WAIT_S = 15;
const HOLD_MS = 700; // the last frame that is there stays so long, and more of the film may come
const KEPT_FRAMES = 6; // decoded ones on the canvas' side: the one shown, and some to come

export const canPlayFiles = () => document.createElement("video").canPlayType(H264) !== "";
export const canPlayStreams = () => Boolean(Source?.isTypeSupported(H264));

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

class VideoScreen {
  constructor(video, { fps, onChange, onFault }) {
    Object.assign(this, { video, fps, closing: new AbortController() });
    const { signal } = this.closing;
    for (const kind of ["loadeddata", "play", "pause", "seeked", "durationchange"]) video.addEventListener(kind, onChange, { signal });
    video.addEventListener("error", () => onFault(), { signal });
    video.muted = true; // there is no sound; and only silent films may start by themselves
    video.disableRemotePlayback = true; // a film that grows cannot be sent to another device; Safari wants it said
  }

  get frame() {
    return Math.max(0, Math.floor(this.video.currentTime * this.fps + 0.01));
  }

  get playing() {
    return !this.video.paused;
  }

  play() {
    this.video.play().catch(() => {}); // refused by the browser, or closed in between: the button still says Play
  }

  pause() {
    this.video.pause();
  }

  seek(frame) {
    this.video.currentTime = (frame + 0.5) / this.fps; // the middle of a frame, so that rounding does no harm
  }

  made() {}

  close() {
    this.closing.abort();
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load(); // lets go of what was buffered
  }
}

/** A finished film, from its file; the browser fetches the parts it needs. */
export class FileScreen extends VideoScreen {
  constructor(video, film, handlers) {
    super(video, { ...film, ...handlers });
    this.frames = film.frames;
    video.loop = true;
    video.src = resultUrl(film.id, "mp4");
  }

  get length() {
    return this.video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA ? this.frames : 0;
  }
}

/** A film that still grows. What is there of it plays, and begins again where it ends. */
export class StreamScreen extends VideoScreen {
  #source = new Source();
  over = false; // the stream has ended
  settled = false; // and nothing more will come: the job has ended

  constructor(video, film, handlers) {
    super(video, { ...film, ...handlers });
    this.film = film;
    const { signal } = this.closing;
    const url = URL.createObjectURL(this.#source);
    video.loop = true; // once the film is whole; until then its end is where the video waits for more
    video.src = url;
    video.addEventListener("waiting", () => setTimeout(() => this.#beginAgain(), HOLD_MS), { signal });
    this.#source.addEventListener("sourceopen", () => {
      URL.revokeObjectURL(url);
      this.#feed(handlers).catch(() => signal.aborted || handlers.onFault());
    }, { once: true, signal });
  }

  get length() {
    const { buffered } = this.video;
    return buffered.length > 0 ? Math.floor(buffered.end(buffered.length - 1) * this.fps + 0.01) : 0;
  }

  #beginAgain() {
    const atTheEnd = this.length > 1 && this.frame >= this.length - 2;
    if (atTheEnd && this.playing && !this.closing.signal.aborted) this.seek(0);
  }

  /** Append the film as it comes; a connection that breaks is opened anew, and what was there already is skipped. */
  async #feed({ onChange }) {
    const { signal } = this.closing;
    let appended = 0;
    let buffer = null;
    for (let failures = 0; ; failures += 1) {
      try {
        const response = await openFilm(this.film.id, signal);
        buffer ??= this.#source.addSourceBuffer(response.headers.get("Content-Type"));
        let skip = appended;
        for (const reader = response.body.getReader(); ;) {
          const { done, value } = await reader.read();
          if (done && (this.settled || this.length >= this.film.frames)) {
            this.over = true;
            return this.#source.endOfStream(); // changes the duration, which is heard
          }
          if (done) throw new TypeError("the server goes away in mid-film");
          const fresh = value.subarray(Math.min(skip, value.length));
          skip -= value.length - fresh.length;
          if (fresh.length === 0) continue;
          await this.#append(buffer, fresh);
          appended += fresh.length;
          failures = 0;
          onChange();
        }
      } catch (problem) {
        // Only what the network does passes by itself: no film of this job, or bytes that cannot be played, do not.
        const isPassing = problem.status === undefined ? problem instanceof TypeError : [0, 409, 429, 503].includes(problem.status);
        if (signal.aborted || !isPassing || this.video.error) throw problem;
        await pause(problem.retryAfter ?? Math.min(LONGEST_WAIT_S, 2 ** failures));
      }
    }
  }

  async #append(buffer, bytes) {
    const settled = () => new Promise((resolve, reject) => {
      buffer.addEventListener("updateend", resolve, { once: true });
      buffer.addEventListener("error", reject, { once: true });
    });
    for (;;) {
      try {
        buffer.appendBuffer(bytes);
        return await settled();
      } catch (error) {
        if (error.name !== "QuotaExceededError") throw error;
        // As much as a browser keeps of one film: give up what was played, and wait where that is nothing.
        const played = this.video.currentTime - 2;
        if (buffer.buffered.length > 0 && played > buffer.buffered.start(0)) {
          buffer.remove(0, played);
          await settled();
        } else await pause(1);
        if (this.closing.signal.aborted) throw error;
      }
    }
  }
}

/** Frames as pictures, a few at a time, for browsers that play no H.264. */
export class FrameScreen {
  #bitmaps = new Map(); // frame -> a promise of its bitmap
  #timer = 0;
  #closed = false;

  constructor(canvas, film, { onChange, onFault }) {
    Object.assign(this, { film, onChange, onFault, length: 0, frame: 0 });
    Object.assign(canvas, { width: film.width, height: film.height });
    this.context = canvas.getContext("2d");
  }

  get playing() {
    return this.#timer !== 0;
  }

  play() {
    this.#timer ||= setInterval(() => this.#next(), 1000 / this.film.fps);
    this.onChange();
  }

  pause() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.onChange();
  }

  seek(frame) {
    this.#show(frame);
  }

  made(count) {
    const isFirst = this.length === 0 && count > 0;
    this.length = count;
    if (isFirst) this.#show(0);
  }

  close() {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const frame of [...this.#bitmaps.keys()]) this.#forget(frame);
  }

  #showing = false;
  #next() {
    if (!this.#showing && this.length > 1) this.#show((this.frame + 1) % this.length); // a slow connection makes a slower film
  }

  async #show(frame) {
    this.#showing = true;
    this.frame = frame;
    // Play order, which begins again at the end; what lies outside is forgotten.
    const ahead = Array.from({ length: Math.min(KEPT_FRAMES, this.length) }, (_, step) => (frame + step) % this.length);
    for (const kept of [...this.#bitmaps.keys()]) if (!ahead.includes(kept)) this.#forget(kept);
    for (const wanted of ahead) if (!this.#bitmaps.has(wanted)) this.#bitmaps.set(wanted, this.#load(wanted));
    try {
      const bitmap = await this.#bitmaps.get(frame);
      if (this.#closed || this.frame !== frame) return;
      this.context.drawImage(bitmap, 0, 0);
      this.onChange();
    } catch (problem) {
      if (this.#closed || this.frame !== frame) return;
      this.#forget(frame);
      if (problem.status === 404 || problem.status === 410) this.onFault();
    } finally {
      if (this.frame === frame) this.#showing = false;
    }
  }

  #load(frame) {
    const bitmap = getFrame(this.film.id, frame).then((png) => createImageBitmap(png, { colorSpaceConversion: "none" }));
    bitmap.catch(() => {}); // told when the frame is to be shown
    return bitmap;
  }

  #forget(frame) {
    this.#bitmaps.get(frame)?.then((bitmap) => bitmap.close(), () => {});
    this.#bitmaps.delete(frame);
  }
}
