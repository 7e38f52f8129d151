import type { KubernetesObject } from '../api/object.ts';
import type { ResourceType } from '../api/resource.ts';
import { microTime } from '../micro-time.ts';

export const EVENTS: ResourceType = {
  group: 'events.k8s.io',
  version: 'v1',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
};

/** The object that an event is about. */
export type Regarding = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
};

/** Something that happened, for those who run `kubectl describe`. */
export type Happening = {
  readonly regarding: Regarding;
  readonly type: 'Normal' | 'Warning';
  /** In CamelCase, for programs: `NoSubnet`. */
  readonly reason: string;
  /** What was being done, in CamelCase: `JoinNetwork`. */
  readonly action: string;
  /** For people. */
  readonly note: string;
};

/** Who reports. */
export type Reporter = {
  /** A qualified name: `flatnet.dev/agent`. */
  readonly controller: string;
  /** Which of its instances, e.g. the node's name. */
  readonly instance: string;
};

/** The server's limits, in bytes. */
const [NOTE, WORD] = [1024, 128];

/** Events about objects without a namespace are kept in `default`, where kubectl looks for them. */
export function eventNamespace({ regarding }: Happening): string {
  return regarding.namespace ?? 'default';
}

/** Returns the Event object; the server completes its name. */
export function eventObject(happening: Happening, reporter: Reporter, now: Date): KubernetesObject {
  const { regarding, type, reason, action, note } = happening;
  return {
    metadata: { name: '', generateName: `${regarding.name}-`, namespace: eventNamespace(happening) },
    eventTime: microTime(now),
    type,
    reason: reason.slice(0, WORD),
    action: action.slice(0, WORD),
    note: shorten(note, NOTE),
    regarding,
    reportingController: reporter.controller,
    reportingInstance: shorten(reporter.instance, WORD),
  };
}

/** Cuts a text to so many bytes of UTF-8, between two characters. */
function shorten(text: string, bytes: number): string {
  const whole = Buffer.from(text);
  if (whole.length <= bytes) return text;
  const end = bytes - Buffer.byteLength('…');
  // A character that was cut in two decodes to U+FFFD.
  return `${whole
    .subarray(0, end)
    .toString('utf8')
    .replace(/\uFFFD+$/, '')}…`;
}

/** The patch that says an event has happened again; `count` includes the first time. */
export function repetition(count: number, now: Date): { series: object } {
  return { series: { count, lastObservedTime: microTime(now) } };
}

/** Identifies what is the same happening again. */
export function happeningKey({ regarding, type, reason, action, note }: Happening): string {
  return JSON.stringify([
    regarding.kind,
    regarding.namespace,
    regarding.name,
    regarding.uid,
    type,
    reason,
    action,
    note,
  ]);
}
