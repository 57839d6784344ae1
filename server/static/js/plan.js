// What a picture would cost, asked of the gateway while the form changes, and said in one line with details below it.

import * as api from "./api.js";
import { FILM_TASKS } from "./history.js";
import { about, bytes, count, orderWords, sizeWords } from "./words.js";

const PAUSE_MS = 300; // no question while somebody still drags or types

const byId = (id) => document.getElementById(id);

export class Planner {
  #key = null;
  #strokes = null;
  #timer = 0;
  #asking = new AbortController();

  /** onAccepted() when the gateway would take the request as it stands, onRefused(problem) when it would not. */
  constructor({ onAccepted, onRefused }) {
    Object.assign(this, { onAccepted, onRefused });
  }

  /** Ask about a request (null: there is none to ask about); an earlier question that is still open is dropped.
      Beside it go a picture and what is brushed over, `outpainting.mask()`. */
  ask(request, outpainting) {
    const { picture, strokes } = outpainting;
    // Words, seed and pace change nothing of the price, only whether there are words.
    const key = request && JSON.stringify([{ ...request, prompt: Boolean(request.prompt), seed: null, fps: null }, picture?.id, outpainting.tool]);
    if (key === this.#key && strokes === this.#strokes) return;
    this.#key = key;
    this.#strokes = strokes;
    clearTimeout(this.#timer);
    this.#asking.abort();
    if (!request) return this.say("");
    byId("plan").classList.add("stale");
    this.#timer = setTimeout(() => this.#ask(request, outpainting), PAUSE_MS);
  }

  /** The next question is asked even if the request is the same: workers came, or know their pace now. */
  forget() {
    this.#key = null;
  }

  /** One line, without details. */
  say(words) {
    this.#line(words);
    byId("plan").hidden = words === "";
    byId("plan").classList.add("bare");
    byId("plan").open = false;
    byId("estimate").tabIndex = -1;
  }

  #line(words) {
    byId("estimate").textContent = words;
    byId("plan").hidden = false;
    byId("estimate").tabIndex = 0;
    byId("plan").classList.remove("stale", "bare");
  }

  async #ask(request, outpainting) {
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    const { picture } = outpainting;
    try {
      const plan = await api.plan(request, await picture?.forPlan(), await outpainting.mask(), signal);
      if (signal.aborted) return;
      if (picture) picture.accepted = true;
      this.#show(plan);
      this.onAccepted();
    } catch (problem) {
      if (signal.aborted) return;
      if (!(problem instanceof api.Problem)) throw problem;
      this.forget();
      this.say(problem.status === 503 ? "No worker is ready yet; pictures wait for one" : "");
      if (problem.status >= 400 && problem.status < 500) this.onRefused(problem);
    }
  }

  #show(plan) {
    const { expected_seconds: seconds, n = 1 } = plan;
    const { frames } = plan.grid;
    const isFilm = FILM_TASKS.has(plan.task);
    const each = n > 1 ? `${n} × ` : "";
    this.#line([
      isFilm && `${each}${count(frames, "frame")}`,
      `${isFilm ? "" : each}${count(plan.patches_to_draw, "patch", "patches")}`,
      count(plan.rounds, "round"),
      seconds === null ? "time unknown yet" : about(seconds),
    ].filter(Boolean).join("\u00a0· ")); // a line breaks after a dot, not before
    const known = plan.patches_known ? `; ${count(plan.patches_known, "more", "more")} ${plan.patches_known === 1 ? "is" : "are"} yours already` : "";
    const facts = {
      ...(n > 1 && { Candidates: `${n}; all that follows but the time is for each` }),
      [isFilm ? "Film" : "Picture"]: `${sizeWords(plan.width, plan.height)} px${isFilm ? `, ${count(frames, "frame")}` : ""}`,
      Patches: `${count(plan.patches_to_draw, "patch", "patches")} to draw${known}`,
      Order: orderWords(plan.order),
      Rounds: `${count(plan.rounds, "step")}, if all patches that can go together do`,
      Memory: plan.pool_bytes === null ? "unknown yet" : `at most ${bytes(plan.pool_bytes)} of the worker's context pool`,
      Time: seconds === null ? "unknown yet: no worker has said how long a patch takes" : `${about(seconds)}, without waiting in the queue`,
    };
    byId("plan-facts").replaceChildren(...Object.entries(facts).flatMap(([name, words]) => [
      Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: words }),
    ]));
  }
}
