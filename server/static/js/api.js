// Speaks to the gateway: JSON out, JSON in, and every refusal as one kind of error.

/** A refusal: the gateway's problem+json, or status 0 when it could not be reached. */
export class Problem extends Error {
  constructor({ title = "Something went wrong", detail = "", status = 0, code = "", errors = [], request_id = "" }, retryAfter = null) {
    super(detail || title);
    Object.assign(this, { title, detail, status, code, errors, requestId: request_id, retryAfter });
  }

  /** The gateway asks to be tried again later: its queue is full or its broker is away. */
  get passing() {
    return this.status === 429 || this.status === 503;
  }
}

// The server's clock minus ours, in ms: start times in job bodies are the server's.
let clockOffset = 0;
export const serverNow = () => Date.now() + clockOffset;

function retryAfterSeconds(response) {
  const header = response.headers.get("Retry-After");
  if (header === null) return null;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - serverNow()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : null;
}

async function answer(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options, headers: { Accept: "application/json", ...options.headers } });
  } catch {
    throw new Problem({ title: "The server cannot be reached.", detail: "Check that it is running and that you are connected, then try again." });
  }
  const date = Date.parse(response.headers.get("Date") ?? "");
  if (date) clockOffset = date + 500 - Date.now(); // the header is cut to whole seconds
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new Problem({ status: response.status, title: response.statusText || "Refused", ...body }, retryAfterSeconds(response));
}

const call = async (path, options) => (await answer(path, options)).json().catch(() => null);

const jobPath = (id) => `/jobs/${encodeURIComponent(id)}`;

/** A request to be sent, with the file of a picture beside it where there is one, and perhaps a mask of it. */
function posted(request, file, mask) {
  if (!file) return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) };
  const form = new FormData();
  form.set("request", JSON.stringify(request));
  form.set("image", file, "picture");
  if (mask) form.set("mask", mask, "mask.png");
  return { method: "POST", body: form };
}

export const generate = (request, file, mask) => call("/generate", posted(request, file, mask));
export const plan = (request, file, mask, signal) => call("/plan", { ...posted(request, file, mask), signal });
export const getJob = (id) => call(jobPath(id));
export const cancelJob = (id) => call(jobPath(id), { method: "DELETE" });
export const getGroup = (id) => call(`/groups/${encodeURIComponent(id)}`);
export const cancelGroup = (id) => call(`/groups/${encodeURIComponent(id)}`, { method: "DELETE" });
export const getModels = () => call("/models");

/** `pixels` "url": patches come as addresses, to be fetched or not; else inside their events. */
export function eventsUrl(id, after, pixels) {
  const query = new URLSearchParams({ ...(after && { last_event_id: after }), ...(pixels && { pixels }) }).toString();
  return `${jobPath(id)}/events${query && `?${query}`}`;
}
/** The film as it grows: a response whose body ends when the film does. */
export const openFilm = (id, signal) => answer(`${jobPath(id)}/film`, { signal, headers: { Accept: "video/mp4" } });
export const frameUrl = (id, index) => `${jobPath(id)}/frames/${index}`;
/** A frame never changes: played again, it comes from the browser's own store. */
export const getFrame = async (id, index) => (await answer(frameUrl(id, index), { cache: "default", headers: { Accept: "image/png" } })).blob();
export const getResult = async (id) => (await answer(resultUrl(id, "png"))).blob();
export const getGiven = async (id) => (await answer(`${jobPath(id)}/given`)).blob();
export const getMask = async (id) => (await answer(`${jobPath(id)}/mask`)).blob();
export const resultUrl = (id, format, download = false) =>
  `${jobPath(id)}/result?format=${format}${download ? "&download=1" : ""}`;
