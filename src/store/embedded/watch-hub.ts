import type { ServerResponse } from 'node:http';
import { event, type Header } from './answers.ts';
import type { History } from './history.ts';
import { type Change, covers, type WatchRequest } from './requests.ts';

/** Approximate number of bytes sent at a time to a watch that is catching up. */
const CHUNK = 256 * 1024;
/** Milliseconds between progress reports to watches that requested them. */
const PROGRESS = 60_000;

type Watcher = {
  readonly request: WatchRequest;
  readonly response: ServerResponse;
  /** The first revision not sent yet. */
  next: number;
  /** The connection's send buffer is full. */
  blocked: boolean;
};

/**
 * Sends every watch the changes in its range, each exactly once and in order. A watch is a position in the
 * history: a slow reader gets the rest from there once its connection drains, so nothing piles up in memory.
 */
export class WatchHub {
  readonly #history: History;
  readonly #header: () => Header;
  readonly #watchers = new Set<Watcher>();
  readonly #timer: NodeJS.Timeout;

  constructor(history: History, header: () => Header) {
    this.#history = history;
    this.#header = header;
    this.#timer = setInterval(() => this.#reportProgress(), PROGRESS);
  }

  /** Takes over the response until the client disconnects. */
  add(request: WatchRequest, response: ServerResponse): void {
    const next = request.from > 0 ? request.from : this.#history.newest + 1;
    const watcher = { request, response, next, blocked: false };
    this.#watchers.add(watcher);
    response.on('close', () => this.#watchers.delete(watcher));
    response.on('drain', () => {
      watcher.blocked = false;
      this.#pump(watcher);
    });
    response.writeHead(200, { 'content-type': 'application/json' });
    this.#send(watcher, { created: true });
    this.#pump(watcher);
  }

  /** Sends the changes of the newest revision. */
  publish(revision: number, changes: readonly Change[]): void {
    // Watches of the same range share the text: it is built only once even with thousands of nodes.
    const texts = new Map<string, string>();
    for (const watcher of this.#watchers) {
      if (watcher.blocked || watcher.next > revision) continue;
      if (watcher.next < revision) {
        this.#pump(watcher);
        continue;
      }
      const { key, end, id } = watcher.request;
      const selector = `${key.toString('base64')} ${end?.toString('base64') ?? ''} ${id}`;
      const text = texts.get(selector) ?? this.#text(watcher, this.#eventsFor(watcher, changes));
      texts.set(selector, text);
      watcher.next = revision + 1;
      this.#write(watcher, text);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { response } of this.#watchers) response.destroy();
    this.#watchers.clear();
  }

  /** Sends outstanding changes until the connection's buffer is full. */
  #pump(watcher: Watcher): void {
    while (!watcher.blocked && watcher.next <= this.#history.newest) {
      if (watcher.next < this.#history.compacted) {
        this.#send(watcher, { canceled: true, compact_revision: String(this.#history.compacted) });
        watcher.response.end();
        this.#watchers.delete(watcher);
        return;
      }
      const changes = this.#history.since(watcher.next, CHUNK);
      watcher.next = (changes.at(-1)?.modified ?? this.#history.newest) + 1;
      this.#write(watcher, this.#text(watcher, this.#eventsFor(watcher, changes)));
    }
  }

  #eventsFor({ request }: Watcher, changes: readonly Change[]): object[] {
    return changes.filter(({ key }) => covers(request, key)).map(event);
  }

  /** Empty when there is nothing to send. */
  #text(watcher: Watcher, events: readonly object[]): string {
    return events.length === 0 ? '' : this.#line(watcher, { events });
  }

  #reportProgress(): void {
    for (const watcher of this.#watchers) {
      const seen = watcher.next === this.#history.newest + 1;
      if (watcher.request.progress && seen && !watcher.blocked) this.#send(watcher, {});
    }
  }

  #send(watcher: Watcher, result: object): void {
    this.#write(watcher, this.#line(watcher, result));
  }

  #line({ request }: Watcher, result: object): string {
    const watch_id = request.id === '0' ? undefined : request.id;
    return `${JSON.stringify({ result: { header: this.#header(), watch_id, ...result } })}\n`;
  }

  #write(watcher: Watcher, text: string): void {
    if (text && !watcher.response.write(text)) watcher.blocked = true;
  }
}
