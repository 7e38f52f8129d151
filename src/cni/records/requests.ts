import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf } from '../../error.ts';
import { namesIn } from '../../if-there.ts';
import { fileName } from './files.ts';
import { type Attachment, decodeAttachment } from './record.ts';
import { writeOver } from './spare-files.ts';

/**
 * Second copies of the initial records of attachments that asked for things the kernel does not show: labels,
 * further sources, host ports, bandwidth, a MAC of their own. A lost record is completed from its copy, never
 * from what its pod shows. A copy exists only while its attachment does.
 */
export class RequestCopies {
  readonly #dir: string;
  /** Whether a missing copy means that nothing was asked for; otherwise only for those in `#seen`. */
  readonly #isComplete: boolean;
  readonly #seen = new Set<string>();
  #names: Set<string> | undefined;

  constructor(stateDir: string) {
    this.#dir = join(stateDir, 'requests');
    this.#isComplete = existsSync(this.#dir);
  }

  /** Keeps what the record of a new attachment, or of one from an earlier version, asks for. */
  keep(record: Attachment): void {
    const name = fileName(record);
    if (!this.#isComplete) this.#seen.add(name);
    if (!asks(record)) {
      if (this.#all.delete(name)) rmSync(join(this.#dir, name), { recursive: true, force: true });
      return;
    }
    writeOver(join(this.#dir, name), JSON.stringify(record));
    this.#all.add(name);
  }

  /** Whether `keep` knows the attachment already. */
  has(name: string): boolean {
    return this.#all.has(name) || this.#seen.has(name);
  }

  /** What an attachment asked for; `lost` if that is unknown. */
  of(name: string): Attachment | 'nothing' | 'lost' {
    try {
      const record = decodeAttachment(readFileSync(join(this.#dir, name), 'utf8'));
      return fileName(record) === name ? record : 'lost';
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') return 'lost';
      const isKnown = this.#isComplete || this.#seen.has(name);
      return isKnown && existsSync(this.#dir) ? 'nothing' : 'lost';
    }
  }

  remove(name: string): void {
    this.#seen.delete(name);
    if (this.#all.delete(name)) rmSync(join(this.#dir, name), { recursive: true, force: true });
  }

  /** Removes the copies of attachments that are not among these. */
  sweep(records: ReadonlySet<string>): void {
    for (const name of [...this.#all, ...this.#seen]) if (!records.has(name)) this.remove(name);
  }

  /** Creates the folder: from then on, an attachment without a copy asked for nothing. */
  create(): void {
    if (!existsSync(this.#dir)) mkdirSync(this.#dir, { mode: 0o700 });
  }

  get #all(): Set<string> {
    this.#names ??= new Set(namesIn(this.#dir));
    return this.#names;
  }
}

function asks(record: Attachment): boolean {
  const { allowedSources = [], hostPorts = [], bandwidth, mac, pod, lost = [] } = record;
  const labels = Object.keys(pod?.labels ?? {});
  const count = allowedSources.length + hostPorts.length + labels.length + lost.length;
  return count > 0 || bandwidth !== undefined || mac !== undefined;
}
