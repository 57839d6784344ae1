// Follows one job's events to the end, through lost connections, without missing or repeating one.

import { eventsUrl, getJob } from "./api.js";

const KINDS = ["job.queued", "job.started", "job.resumed", "patch", "patch.refined", "frame", "job.finished", "job.failed", "job.canceled"];
const TERMINAL = new Set(["job.finished", "job.failed", "job.canceled"]);
const ENDED = new Set(["succeeded", "failed", "canceled"]);
const LONGEST_WAIT_S = 15;

/**
 * Follow a job from its first event.
 * onEvent(kind, data) for each event in order; onConnection("open" | "reconnecting");
 * onEnded(job) when the job is over and its log has nothing more; onGone() when the server no longer knows it. `pixels`: see eventsUrl.
 * Returns a function that stops following.
 */
export function follow(id, { pixels, onEvent, onConnection, onEnded, onGone }) {
  let source = null;
  let timer = 0;
  let lastId = "";
  let stopped = false;
  let failures = 0;

  const stop = () => {
    stopped = true;
    clearTimeout(timer);
    source?.close();
  };

  const open = () => {
    source = new EventSource(eventsUrl(id, lastId, pixels));
    source.onopen = () => onConnection("open");
    source.onerror = () => {
      if (stopped) return;
      // A cut connection is reopened by the browser itself, with Last-Event-ID. An HTTP answer other than 200 closes the
      // source for good, and does not say why: ask the job.
      if (source.readyState === EventSource.CLOSED) askWhy();
      else onConnection("reconnecting");
    };
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        if (stopped || event.lastEventId === lastId) return;
        failures = 0;
        lastId = event.lastEventId;
        if (TERMINAL.has(kind)) stop(); // else the browser would come back for a 204
        onEvent(kind, JSON.parse(event.data));
      });
    }
  };

  const askWhy = async () => {
    onConnection("reconnecting");
    let wait = Math.min(LONGEST_WAIT_S, 2 ** failures++);
    try {
      const job = await getJob(id);
      if (stopped) return;
      if (ENDED.has(job.status) && failures > 2) {
        stop();
        return onEnded(job);
      }
    } catch (problem) {
      if (stopped) return;
      if (problem.status === 404) {
        stop();
        return onGone();
      }
      wait = problem.retryAfter ?? wait;
    }
    timer = setTimeout(open, wait * 1000);
  };

  open();
  return stop;
}
