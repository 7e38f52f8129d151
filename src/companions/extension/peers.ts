import { isDeepStrictEqual } from 'node:util';
import { Backoff } from '../../async/backoff.ts';
import { Latest } from '../../async/latest.ts';
import { Limit } from '../../async/limit.ts';
import { untilDone } from '../../async/until-done.ts';
import type { Command, ExtensionOptions } from '../../backends/extension.ts';
import type { Log } from '../../log.ts';
import { excerpt, type Problem } from '../../problem.ts';
import type { Lease, Wanted } from './leases.ts';
import type { LeaseRecord, Records } from './records.ts';
import { runCommand } from './run-command.ts';

/** Commands that run at once. */
const AT_ONCE = 4;
/** Milliseconds. */
const FIRST_RETRY = 1000;
const LONGEST_RETRY = 60_000;

type Job = { readonly latest: Latest<Wanted>; wanted: Wanted };
type Failure = { readonly command: string; readonly node: string; readonly reason: string };

export type PeersOptions = {
  readonly records: Records;
  readonly log: Log;
  /** Ends commands, and all else. */
  readonly signal: AbortSignal;
};

/** Runs SubnetAddCommand and SubnetRemoveCommand, for one lease one at a time, again until they succeed. */
export class Peers {
  readonly #options: PeersOptions;
  readonly #recorded: Map<string, LeaseRecord>;
  readonly #jobs = new Map<string, Job>();
  readonly #failures = new Map<string, Failure>();
  readonly #limit = new Limit(AT_ONCE);

  constructor(options: PeersOptions) {
    this.#options = options;
    this.#recorded = options.records.leases();
  }

  /** `isComplete`: these are all leases there are, so others have ended. */
  follow(leases: ReadonlyMap<string, Lease>, options: ExtensionOptions, isComplete: boolean): void {
    for (const [key, lease] of leases) this.#want(key, { lease, options });
    if (!isComplete) return;
    for (const key of new Set([...this.#recorded.keys(), ...this.#jobs.keys()]))
      if (!leases.has(key)) this.#want(key, { lease: undefined, options });
  }

  /** One line for each command that fails, however many leases it fails for. */
  get problems(): readonly Problem[] {
    return ['SubnetAddCommand', 'SubnetRemoveCommand'].flatMap((command): Problem[] => {
      const failures = [...this.#failures.values()].filter((each) => each.command === command);
      const [first] = failures;
      if (!first) return [];
      const others = failures.length > 1 ? ` and ${failures.length - 1} more` : '';
      return [
        {
          id: 'extension-command-failed',
          severity: command === 'SubnetAddCommand' ? 'error' : 'warning',
          what: `${command} fails for ${excerpt(first.node, 100)}${others}`,
          cause: first.reason,
        },
      ];
    });
  }

  /** Resolves when no command runs any more; to be called once the signal has aborted. */
  async idle(): Promise<void> {
    await Promise.all([...this.#jobs.values()].map(({ latest }) => latest.idle()));
  }

  #want(key: string, wanted: Wanted): void {
    const job = this.#jobs.get(key);
    if (job) {
      if (isDeepStrictEqual(job.wanted, wanted)) return;
      job.wanted = wanted;
      job.latest.push(wanted);
      return;
    }
    const work = (value: Wanted, superseded: AbortSignal) => this.#work(key, value, superseded);
    // Without the signal, on which leases that come and go would leave listeners.
    const latest = new Latest(`follow the lease ${key}`, work, { log: this.#options.log });
    this.#jobs.set(key, { latest, wanted });
    latest.push(wanted);
  }

  async #work(key: string, wanted: Wanted, superseded: AbortSignal): Promise<void> {
    const { log, signal } = this.#options;
    const node = wanted.lease?.node ?? this.#recorded.get(key)?.node ?? key;
    const command = wanted.lease ? 'SubnetAddCommand' : 'SubnetRemoveCommand';
    const attempt = (): Promise<void> =>
      this.#limit.run(async () => {
        superseded.throwIfAborted();
        await (wanted.lease
          ? this.#add(key, wanted.lease, wanted.options)
          : this.#remove(key, wanted.options));
      });
    this.#failures.delete(key);
    const done = await untilDone(`${command} for ${node}`, attempt, {
      signal: AbortSignal.any([signal, superseded]),
      log,
      backoff: new Backoff({ first: FIRST_RETRY, longest: LONGEST_RETRY }),
      failed: (reason) => this.#failures.set(key, { command, node, reason }),
    }).then(
      () => true,
      () => false,
    );
    if (!done) return;
    this.#failures.delete(key);
    if (!wanted.lease && this.#jobs.get(key)?.wanted === wanted) this.#jobs.delete(key);
  }

  /** It is recorded first: what a command that failed, or was cut off, has done is removed all the same. */
  async #add(key: string, lease: Lease, options: ExtensionOptions): Promise<void> {
    const { records, log } = this.#options;
    const command = options.subnetAdd?.text ?? '';
    const done: LeaseRecord = { ...lease, command, done: true };
    if (isDeepStrictEqual(this.#recorded.get(key), done)) return;
    this.#record(key, { ...done, done: false });
    const said = await this.#run(options.subnetAdd, lease, options);
    this.#recorded.set(key, done);
    records.writeLease(key, done);
    log.info({ node: lease.node, ...lease.variables, said: excerpt(said) }, 'lease added');
  }

  async #remove(key: string, options: ExtensionOptions): Promise<void> {
    const { records, log } = this.#options;
    const record = this.#recorded.get(key);
    if (!record) return;
    const said = await this.#run(options.subnetRemove, record, options);
    this.#recorded.delete(key);
    records.removeLease(key);
    log.info({ node: record.node, ...record.variables, said: excerpt(said) }, 'lease removed');
  }

  #record(key: string, record: LeaseRecord): void {
    this.#recorded.set(key, record);
    this.#options.records.writeLease(key, record);
  }

  async #run(command: Command | undefined, lease: Lease, { timeout }: ExtensionOptions): Promise<string> {
    if (!command) return '';
    const { signal } = this.#options;
    const { variables, data } = lease;
    return runCommand(command, { variables, input: data, timeout, signal });
  }
}
