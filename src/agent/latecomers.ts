/**
 * Peers that use a former backend, or did until recently: by the new one they may be reached a little later
 * than they say so, by BGP only once there are sessions.
 */
export class Latecomers {
  readonly #linger: number;
  readonly #seen = new Map<string, { readonly backend: string; readonly at: number }>();

  /** `linger`: for how long one that has switched still counts, in milliseconds. */
  constructor(linger: number) {
    this.#linger = linger;
  }

  /** Notes those that use a former backend at present, by name, with the backend. Returns all that count. */
  note(present: ReadonlyMap<string, string>, now = performance.now()): ReadonlyMap<string, string> {
    for (const [name, backend] of present) this.#seen.set(name, { backend, at: now });
    for (const [name, { at }] of this.#seen) if (now - at > this.#linger) this.#seen.delete(name);
    return new Map([...this.#seen].map(([name, { backend }]) => [name, backend]));
  }
}
