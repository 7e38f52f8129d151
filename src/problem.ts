/**
 * The stable names of all problems. A new one needs a section in docs/troubleshooting.md too.
 */
export const PROBLEM_IDS = [
  'bgp-incomplete',
  'bgp-port-taken',
  'block-outside-pools',
  'block-unreachable',
  'cloud-drops-pods',
  'cloud-route-conflict',
  'cloud-unavailable',
  'companion-not-ready',
  'connections-not-ended',
  'ended-connections-forgotten',
  'ended-streams-silenced',
  'extension-command-failed',
  'family-unusable',
  'firewall-drops-pods',
  'host-ports-overruled',
  'item-claimed-twice',
  'kernel-notifications-lost',
  'kernel-refuses',
  'kernel-unreadable',
  'lease-not-renewed',
  'lease-ran-out',
  'names-observed-late',
  'names-unobserved',
  'network-config-missing',
  'network-config-unusable',
  'no-network',
  'no-subnet',
  'no-underlay',
  'node-not-set-up',
  'older-agent',
  'path-blocked',
  'path-cuts-large-packets',
  'path-loses-packets',
  'path-too-narrow',
  'peer-address-unusable',
  'peer-has-another-backend',
  'peer-silent',
  'peer-subnet-overlaps',
  'peer-unreachable',
  'pod-identity-unknown',
  'pod-lease-lost',
  'pod-lease-not-renewed',
  'pod-record-unreadable',
  'pod-requests-lost',
  'pod-sources-refused',
  'pods-network-in-use',
  'pods-not-adopted',
  'pods-not-guarded',
  'pods-of-former-subnets',
  'pods-outside-pools',
  'pods-without-policies',
  'policies-excessive',
  'policies-kept',
  'policies-unfollowed',
  'policies-unknown',
  'policy-log-unheard',
  'policy-unreadable',
  'public-address-shared',
  'route-in-the-way',
  'service-networks-unknown',
  'sessions-opening',
  'staged-policies-uncounted',
  'store-key-ignored',
  'store-lost-data',
  'store-unreachable',
  'subnet-claim-refused',
  'subnet-outside-network',
  'subnets-lost',
  'subnets-unconfirmed',
  'tunnel-packets-dropped',
  'underlay-address-lost',
  'underlay-lost',
] as const;

export type ProblemId = (typeof PROBLEM_IDS)[number];

/** Something wrong on a node, for people: one line in the status. */
export type Problem = {
  readonly id: ProblemId;
  /** `error`: the node cannot do what it says. `warning`: it can, but something needs attention. */
  readonly severity: 'error' | 'warning';
  /** What does not work, or what is in doubt; names the object. */
  readonly what: string;
  readonly cause?: string;
  /** What to do about it, with the command if there is one. */
  readonly fix?: string;
  /** The pods of this node that it is about, where it is about single ones. */
  readonly pods?: readonly PodProblem[];
};

/** A problem that is no error, without what is not known. */
export function warning(id: ProblemId, what: string, cause?: string, fix?: string): Problem {
  return {
    id,
    severity: 'warning',
    what,
    ...(cause !== undefined && { cause }),
    ...(fix !== undefined && { fix }),
  };
}

/** One pod's part in a problem. */
export type PodProblem = {
  /** As far as the container runtime has named it. */
  readonly pod: { readonly namespace?: string; readonly name?: string; readonly uid?: string };
  /** The problem's `what`, for this pod alone. */
  readonly what: string;
};

export function aboutPod({ namespace, name, uid }: PodProblem['pod'], what: string): PodProblem {
  const pod = { ...(namespace && { namespace }), ...(name && { name }), ...(uid && { uid }) };
  return { pod, what };
}

/** `what: cause; fix`, without what is absent. */
export function problemText({ what, cause, fix }: Omit<Problem, 'id' | 'severity'>): string {
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
