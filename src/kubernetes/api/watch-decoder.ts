import { FlatnetError } from '../../error.ts';
import { asJson, asObject, type Json, type KubernetesObject } from './object.ts';

export type WatchEvent =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: KubernetesObject }
  /** Nothing changed up to this version: a watch may resume from it. */
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string }
  /** The end: a Status. */
  | { readonly type: 'ERROR'; readonly status: Json };

/** More than any object: etcd refuses those above 1.5 MB. */
const LONGEST_LINE = 64 * 1024 * 1024;

/** Takes apart the body of a watch, one JSON document per line, however its bytes are torn. */
export class WatchDecoder {
  #parts: Uint8Array[] = [];
  #length = 0;

  /** Whether a line has begun that has not ended. */
  get isTorn(): boolean {
    return this.#length > 0;
  }

  /** Returns the events that are complete with this chunk. Throws STORE_UNAVAILABLE for anything else. */
  push(chunk: Uint8Array): WatchEvent[] {
    const events: WatchEvent[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      this.#keep(chunk.subarray(start, end));
      const line = Buffer.concat(this.#parts).toString('utf8');
      this.#parts = [];
      this.#length = 0;
      if (line.trim()) events.push(decode(line));
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
    return events;
  }

  #keep(part: Uint8Array): void {
    this.#length += part.length;
    if (this.#length > LONGEST_LINE) throw broken('a line does not end');
    if (part.length) this.#parts.push(part);
  }
}

const NEWLINE = 0x0a;

function decode(line: string): WatchEvent {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw broken('a line is not JSON', cause);
  }
  const { type, object } = asJson(value);
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type, object: asObject(object) };
    case 'BOOKMARK': {
      const { resourceVersion } = asJson(asJson(object).metadata);
      if (typeof resourceVersion === 'string') return { type, resourceVersion };
      break;
    }
    case 'ERROR':
      return { type, status: asJson(object) };
  }
  throw broken('a line is no event');
}

function broken(text: string, cause?: unknown): FlatnetError {
  return new FlatnetError(text, { code: 'STORE_UNAVAILABLE', operation: 'watch', cause });
}
