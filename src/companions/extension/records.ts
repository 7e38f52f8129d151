import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Fields } from '../../cluster/fields.ts';
import { parseJson } from '../../cluster/json.ts';
import { namesIn, readIfThere } from '../../if-there.ts';
import { replaceFile } from '../../replace-file.ts';
import type { Lease } from './leases.ts';

/** A lease for which SubnetAddCommand has been run, or is about to be. */
export type LeaseRecord = Lease & {
  /** SubnetAddCommand as it was configured. */
  readonly command: string;
  /** Whether it has succeeded. */
  readonly done: boolean;
};

/** A command that ran once for this node itself, and what that depended on. */
export type OwnRecord = {
  readonly command: string;
  readonly variables: Readonly<Record<string, string>>;
  readonly output: string;
};

/**
 * What commands have done to this node, as files: after a restart of the agent, nothing is done twice, and
 * whatever was added is removed. They are lost on reboot, like that.
 */
export class Records {
  readonly #folder: string;
  readonly #leases: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.#leases = join(folder, 'leases');
  }

  create(): void {
    mkdirSync(this.#leases, { recursive: true, mode: 0o700 });
  }

  leases(): Map<string, LeaseRecord> {
    const found = new Map<string, LeaseRecord>();
    for (const name of namesIn(this.#leases)) {
      const key = /^(.*)\.json$/.exec(name)?.[1];
      const fields = key === undefined ? undefined : read(join(this.#leases, name));
      if (key !== undefined && fields) found.set(key, leaseRecord(fields));
    }
    return found;
  }

  writeLease(key: string, record: LeaseRecord): void {
    write(this.#path(key), record);
  }

  removeLease(key: string): void {
    rmSync(this.#path(key), { force: true });
  }

  own(name: 'pre-startup' | 'post-startup'): OwnRecord | undefined {
    const fields = read(join(this.#folder, `${name}.json`));
    if (!fields) return undefined;
    const { string, variables } = texts(fields);
    return { command: string('command'), variables, output: string('output') };
  }

  writeOwn(name: 'pre-startup' | 'post-startup', record: OwnRecord): void {
    write(join(this.#folder, `${name}.json`), record);
  }

  /** The backend's part of the configuration, by which `end` knows what to run. */
  options(): Readonly<Record<string, unknown>> | undefined {
    return read(join(this.#folder, 'options.json'))?.source;
  }

  writeOptions(options: object): void {
    write(join(this.#folder, 'options.json'), options);
  }

  #path(key: string): string {
    return join(this.#leases, `${key}.json`);
  }
}

function leaseRecord(fields: Fields): LeaseRecord {
  const { string, variables } = texts(fields);
  const done = fields.boolean('done') ?? false;
  return { node: string('node'), variables, data: string('data'), command: string('command'), done };
}

function texts(fields: Fields) {
  const string = (name: string): string => fields.string(name) ?? '';
  const entries = fields.object('variables')?.entries() ?? [];
  return { string, variables: Object.fromEntries(entries.map(([name, value]) => [name, String(value)])) };
}

function write(path: string, value: object): void {
  replaceFile(path, `${JSON.stringify(value)}\n`, { mode: 0o600 });
}

/** Only the agent writes there, each file as a whole. */
function read(path: string): Fields | undefined {
  const text = readIfThere(path);
  return text === undefined ? undefined : new Fields(parseJson(text));
}
