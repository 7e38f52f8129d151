/** Something wrong on a node, for people: one line in the status. */
export type Problem = {
  /** `error`: the node cannot do what it says. `warning`: it can, but something needs attention. */
  readonly severity: 'error' | 'warning';
  /** What does not work, or what is in doubt; names the object. */
  readonly what: string;
  readonly cause?: string;
  /** What to do about it, with the command if there is one. */
  readonly fix?: string;
};

/** A problem, or the text of a warning. */
export type Reported = Problem | string;

export function problemFrom(reported: Reported): Problem {
  return typeof reported === 'string' ? { severity: 'warning', what: reported } : reported;
}

/** `what: cause; fix`, without what is absent. */
export function problemText(reported: Reported): string {
  const { what, cause, fix } = problemFrom(reported);
  return [what, cause && `: ${cause}`, fix && `; ${fix}`].filter(Boolean).join('');
}

/** Foreign text as part of a line: without control characters, and of at most `length` characters. */
export function excerpt(text: string, length = 200): string {
  const start = text.slice(0, length + 1).replace(/\p{Cc}+/gu, ' ');
  return start.length > length ? `${start.slice(0, length - 1)}…` : start;
}

/** `14:03:05`, with the date if that is not today's. Local time. */
export function timeText(time: Date, now = new Date()): string {
  const pad = (value: number): string => `${value}`.padStart(2, '0');
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(pad).join(':');
  if (time.toDateString() === now.toDateString()) return clock;
  return `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())} ${clock}`;
}
