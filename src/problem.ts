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
