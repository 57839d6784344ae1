// The film on the wall: plays what is there of it while it is made and all of it afterwards, with a bar to stop and leaf.

import { FileScreen, FrameScreen, StreamScreen, canPlayFiles, canPlayStreams } from "./screens.js";
import { count } from "./words.js";

const WORTH_PLAYING = 3; // frames: with fewer it only flickers
const NO_H264 = "This browser cannot play MP4 films (H.264), so the frames are shown one by one, and perhaps more slowly. A downloaded film plays as it should.";
const NOT_PLAYED = "The film could not be played here, so its frames are shown one by one, and perhaps more slowly. A downloaded film plays as it should.";
const NO_FRAMES = "The film cannot be shown here: its frames are no longer on the server.";

const stillness = matchMedia("(prefers-reduced-motion: reduce)");
const byId = (id) => document.getElementById(id);

export class FilmPlayer {
  #film = null; // {id, width, height, frames, fps}
  #screen = null;
  #view = "painting"; // or "film": what is to be seen
  #chosen = false; // the person has chosen a view
  #wantsToPlay = false;
  #made = 0;
  #growing = false;
  #whole = false;
  #ticking = 0;
  #covering = false;

  /** onView(isFilm): whether the film lies over the painting. */
  constructor({ onView }) {
    this.onView = onView;
    this.video = byId("film-video");
    this.canvas = byId("film-canvas");
    byId("film-play").addEventListener("click", () => this.#toggle());
    for (const surface of [this.video, this.canvas]) surface.addEventListener("click", () => this.#toggle());
    byId("film-frame").addEventListener("input", () => this.#leaf(Number(byId("film-frame").value)));
    for (const view of ["painting", "film"]) {
      byId(`view-${view}`).addEventListener("click", () => {
        this.#chosen = true;
        this.#look(view);
      });
    }
  }

  /** Hang a film; a second time once its job has started and everything is known of it. */
  hang({ id, width, height, frames, fps }, growing) {
    if (this.#film?.id === id) return void Object.assign(this.#film, { width, height, frames, fps });
    this.clear();
    this.#film = { id, width, height, frames, fps };
    this.#growing = growing;
    this.#whole = !growing;
    this.#wantsToPlay = !stillness.matches;
    if (!growing) this.#open();
    this.#draw();
  }

  /** So many frames, from the first on, are finished. */
  made(frames) {
    this.#made = frames;
    if (frames > 0 && !this.#screen) this.#open();
    this.#screen?.made(frames);
    this.#changed(); // there may be enough to play now
  }

  /** Nothing more will come; `whole` says that the film is finished. */
  ended(whole) {
    if (!this.#film || !this.#growing) return;
    this.#growing = false;
    this.#whole = whole;
    if (this.#screen) this.#screen.settled = true;
    if (whole) {
      this.made(this.#film.frames);
      this.#look("film");
    }
    this.#changed();
  }

  clear() {
    this.#close();
    cancelAnimationFrame(this.#ticking);
    this.#film = null;
    this.#view = "painting";
    this.#chosen = false;
    this.#made = 0;
    this.#say("");
    this.#draw();
  }

  #open(Screen = this.#bestScreen()) {
    this.#close();
    const film = this.#film;
    const mine = (act) => (...values) => this.#film === film && screen === this.#screen && act(...values);
    const handlers = { onChange: mine(() => this.#changed()), onFault: mine(() => this.#fault()) };
    if (Screen === FrameScreen && byId("film-note").hidden) this.#say(NO_H264);
    const screen = new Screen(Screen === FrameScreen ? this.canvas : this.video, film, handlers);
    this.#screen = screen;
    screen.settled = !this.#growing;
    screen.made(this.#whole ? film.frames : this.#made);
    if (this.#whole) this.#look("film");
    this.#changed();
  }

  #close() {
    this.#screen?.close();
    this.#screen = null;
  }

  #bestScreen() {
    if (!this.#whole) return canPlayStreams() ? StreamScreen : FrameScreen;
    return canPlayFiles() ? FileScreen : FrameScreen;
  }

  #fault() {
    if (this.#screen instanceof StreamScreen && this.#whole) return this.#goOnWithFile();
    const isLast = this.#screen instanceof FrameScreen;
    this.#say(isLast ? NO_FRAMES : NOT_PLAYED);
    if (!isLast) return this.#open(FrameScreen);
    this.#close();
    this.#look("painting");
  }

  #goOnWithFile() {
    const { frame, playing } = this.#screen;
    this.#wantsToPlay ||= playing;
    this.#open(FileScreen);
    this.#screen.seek(frame);
  }

  /** The screen has changed: more to show, playing or not, another frame. */
  #changed() {
    const screen = this.#screen;
    if (!screen) return this.#draw();
    // What the stream brought goes on playing, unless some of it was given up on the way.
    if (screen.over && this.#whole && screen.length < this.#film.frames) return this.#goOnWithFile();
    const enough = screen.length >= Math.min(WORTH_PLAYING, this.#film.frames);
    if (this.#wantsToPlay && enough) {
      this.#wantsToPlay = false;
      if (!this.#chosen) this.#look("film");
      screen.play();
    }
    this.#draw();
    cancelAnimationFrame(this.#ticking);
    if (screen.playing) this.#ticking = requestAnimationFrame(() => this.#tick());
  }

  #tick() {
    this.#draw();
    if (this.#screen?.playing) this.#ticking = requestAnimationFrame(() => this.#tick());
  }

  #toggle() {
    this.#wantsToPlay = false;
    if (this.#screen?.playing) this.#screen.pause();
    else this.#screen?.play();
    this.#look("film");
  }

  #leaf(frame) {
    if (!this.#screen) return;
    this.#wantsToPlay = false;
    this.#screen.pause();
    this.#screen.seek(Math.max(0, Math.min(frame, this.#screen.length - 1)));
    this.#look("film");
  }

  #look(view) {
    this.#view = view;
    this.#draw();
  }

  #say(words) {
    byId("film-note").textContent = words;
    byId("film-note").hidden = words === "";
  }

  #draw() {
    const film = this.#film;
    const screen = this.#screen;
    const length = screen?.length ?? 0;
    const showing = this.#view === "film" && length > 0;
    const onVideo = screen && !(screen instanceof FrameScreen);
    this.video.hidden = !(showing && onVideo);
    this.canvas.hidden = !(showing && !onVideo);
    if (this.#covering !== showing) this.onView((this.#covering = showing));
    const bar = byId("film-bar");
    bar.hidden = length === 0;
    for (const view of ["painting", "film"]) {
      byId(`view-${view}`).hidden = !(this.#growing && length > 0);
      byId(`view-${view}`).setAttribute("aria-pressed", this.#view === view);
    }
    if (!film || length === 0) return;
    const frame = Math.min(screen.frame, length - 1);
    const words = `${frame + 1} of ${film.frames}`;
    const range = byId("film-frame");
    if (range.max !== String(film.frames - 1)) range.max = film.frames - 1;
    if (range.value !== String(frame)) range.value = frame;
    range.setAttribute("aria-valuetext", words);
    range.style.setProperty("--made", film.frames > 1 ? (length - 1) / (film.frames - 1) : 1);
    byId("film-place").textContent = words;
    const playing = screen.playing;
    if (bar.dataset.playing !== String(playing)) {
      bar.dataset.playing = playing;
      byId("film-play").setAttribute("aria-label", playing ? "Pause the film" : "Play the film");
      byId("film-play").querySelector("use").setAttribute("href", `/static/icons/icons.svg#${playing ? "pause" : "play"}`);
    }
    Object.assign(bar.dataset, { screen: screen.constructor.name, length });
    this.video.setAttribute("aria-label", `The film, ${count(film.frames, "frame")}, ${film.fps} a second`);
    this.canvas.setAttribute("aria-label", this.video.getAttribute("aria-label"));
  }
}
