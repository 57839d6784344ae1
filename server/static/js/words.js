// How numbers and states are said on the page.

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** 47 -> "47 s", 125 -> "2 min 5 s", 4000 -> "1 h 7 min". */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ""}`;
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}

/** An estimate, rounded so that it does not claim to know more than it does. */
export function about(seconds) {
  if (seconds < 5) return "a few seconds";
  if (seconds < 55) return `about ${Math.ceil(seconds / 5) * 5} s`;
  if (seconds < 3600) return `about ${Math.round(seconds / 60) || 1} min`;
  return `about ${(seconds / 3600).toFixed(1)} h`;
}

export const sizeWords = (width, height) => `${width} × ${height}`;

/** 16 frames, 8 a second -> "film of 2 s". */
export const filmWords = ({ frames, fps }) => `film of ${fps ? seconds(frames / fps) : count(frames, "frame")}`;

/** 2 -> "2 s", 0.125 -> "0.1 s", 150 -> "2 min 30 s". */
export const seconds = (length) => (length < 10 ? `${Number(length.toFixed(1))} s` : duration(length));

const ORDERS = { auto: "automatic order", omega: "left to right", omega_star: "right to left", zeta: "top to bottom", zeta_star: "bottom to top" };
/** Of a job: the orders of its phases are joined by +. */
export const orderWords = (order) => order?.split("+").map((name) => ORDERS[name] ?? name).join(", then ");

/** 3833856 -> "3.8 MB". */
export function bytes(number) {
  const power = Math.min(3, Math.floor(Math.log10(Math.max(1, number)) / 3));
  return `${(number / 1000 ** power).toLocaleString("en", { maximumSignificantDigits: 2 })} ${["bytes", "kB", "MB", "GB"][power]}`;
}

/** Where a waiting job stands: position 0 is next. */
export function queueWords(position) {
  if (position === null || position === undefined) return "Waiting for a free worker";
  if (position === 0) return "Next in the queue";
  return `${count(position, "picture")} ahead of this one`;
}

export function ago(then, now = Date.now()) {
  const minutes = Math.round((now - then) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 60 * 24) return `${Math.round(minutes / 60)} h ago`;
  return new Date(then).toLocaleDateString("en", { day: "numeric", month: "short" });
}
