import { fileName } from './files.ts';
import type { AttachmentKey } from './record.ts';

/** Which records name a thing, by the records' files: a hint, to be checked against the record itself. */
export class RecordIndex {
  readonly #files = new Map<string, Set<string>>();

  /** `thing`: a host device or a MAC; none is ignored. */
  add(thing: string | undefined, key: AttachmentKey): void {
    if (!thing) return;
    const files = this.#files.get(thing) ?? new Set();
    this.#files.set(thing, files.add(fileName(key)));
  }

  remove(thing: string | undefined, key: AttachmentKey): void {
    if (!thing) return;
    const files = this.#files.get(thing);
    files?.delete(fileName(key));
    if (files?.size === 0) this.#files.delete(thing);
  }

  of(thing: string): readonly string[] {
    return [...(this.#files.get(thing) ?? [])];
  }
}
