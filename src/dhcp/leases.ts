import { FlatnetError, messageOf } from '../error.ts';
import type { Ip } from '../ip/address.ts';
import { addressOf, type Prefixed } from '../ip/cidr.ts';
import type { Log } from '../log.ts';
import type { PodProblem, Problem } from '../problem.ts';
import { acquire } from './acquire.ts';
import { now } from './clock.ts';
import { askToExtend } from './extend.ts';
import { type LeaseRecord, readLeaseFiles, removeLeaseFile, writeLeaseFile } from './lease-file.ts';
import { release } from './notices.ts';
import { openPlace } from './place.ts';
import { problemOf } from './problem.ts';
import { type Lease, type LeaseRules, nextTry, phaseOf } from './protocol/lease.ts';
import { UNSPECIFIED } from './protocol/packet.ts';

/** A pod's interface that needs an address. `id`: the same for the attachment's lifetime. */
export type Applicant = Pick<LeaseRecord, 'id' | 'netns' | 'netnsId' | 'ifName'>;

export type LeasesOptions = {
  /** The folder of its files. */
  readonly dir: string;
  /** Path of the node's network namespace. */
  readonly netns: string;
  readonly bootId: string;
  /** What servers may not give. Undefined: the network has no DHCP (any more). */
  readonly rules: () => LeaseRules | undefined;
  /** Whose an attachment is, for people. */
  readonly podOf: (id: string) => PodProblem['pod'] | undefined;
  /** How much longer than usual to wait for answers. Default: 1. */
  readonly patience?: number;
  readonly log: Log;
};

/** Milliseconds. Timers stand still while the machine sleeps, and leases do not. */
const LONGEST_WAIT = 60_000;
/** Milliseconds in which a server must confirm a lease that is not known for certain. */
const ADOPTION = 600_000;

/**
 * The leases of this node's pods: acquired by ADD, renewed for as long as the pod lives, also by the agents
 * that follow, and given back by DEL. A lease is on disk before its pod has the address, until it is given
 * back.
 */
export class Leases implements Disposable {
  readonly #options: LeasesOptions;
  readonly #records = new Map<string, LeaseRecord>();
  /** When to try next, by attachment. */
  readonly #due = new Map<string, number>();
  readonly #busy = new Set<string>();
  readonly #stopped = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LeasesOptions) {
    this.#options = options;
    for (const record of readLeaseFiles(options.dir, options.log)) this.#records.set(record.id, record);
    this.#arm();
  }

  /** Stops renewing; the next agent continues. */
  [Symbol.dispose](): void {
    this.#stopped.abort();
    clearTimeout(this.#timer);
  }

  /** Gets an address for an interface, which is up. Throws what `acquire` does. */
  async acquire({ id, netns, netnsId: inode, ifName }: Applicant): Promise<Lease> {
    const { bootId } = this.#options;
    using place = openPlace({ netns, netnsId: inode, ifName });
    if (!place) throw new FlatnetError('is gone', { code: 'NOT_FOUND', operation: 'DHCP', object: netns });
    const { mac } = place;
    return await acquire(place, id, {
      ...this.#options,
      rules: this.#rules(),
      signal: this.#stopped.signal,
      keep: (lease) => this.#set({ id, netns, netnsId: inode, bootId, ifName, mac, lease }),
    });
  }

  /** Gives back what an attachment holds, if it holds anything. */
  release(id: string): void {
    const record = this.#records.get(id);
    if (!record) return;
    const { lease, mac } = record;
    const { bootId, netns, log } = this.#options;
    // In another boot, nobody knows how much of it is left.
    const mayLast = record.bootId !== bootId || phaseOf(lease, now()) !== 'over';
    if (lease.server !== UNSPECIFIED && mayLast) release(lease, { netns, mac, id }, log);
    this.#records.delete(id);
    this.#due.delete(id);
    removeLeaseFile(this.#options.dir, id);
  }

  /** The address that an attachment holds; undefined if it holds none, or no longer. */
  held(id: string): Ip | undefined {
    const record = this.#records.get(id);
    return record && !record.lost ? addressOf(record.lease.address) : undefined;
  }

  /** Follows the lease of a pod whose file is lost, asking at once whether the address is still the pod's. */
  adopt(applicant: Applicant & Pick<LeaseRecord, 'mac'>, address: Prefixed): void {
    if (this.#records.has(applicant.id)) return;
    const time = now();
    const lease = {
      address,
      dns: [],
      server: UNSPECIFIED,
      renewAt: time,
      rebindAt: time,
      endsAt: time + ADOPTION,
    };
    this.#set({ ...applicant, bootId: this.#options.bootId, lease });
  }

  /** What is known of an attachment's lease, and where its interface is. */
  recordOf(id: string): LeaseRecord | undefined {
    return this.#records.get(id);
  }

  all(): readonly LeaseRecord[] {
    return [...this.#records.values()];
  }

  /** Pods that have lost their addresses, or soon will. */
  get problems(): readonly Problem[] {
    const time = now();
    return [...this.#records.values()].flatMap(
      (record) => problemOf(record, time, this.#options.podOf(record.id)) ?? [],
    );
  }

  #rules(): LeaseRules {
    const rules = this.#options.rules();
    if (!rules) throw new FlatnetError('the network has no DHCP', { code: 'NOT_FOUND', operation: 'DHCP' });
    const others = (ip: Ip): string | undefined => {
      const owner = [...this.#records.values()].find(({ lease }) => addressOf(lease.address) === ip);
      return owner && `the address of another pod, ${owner.id}`;
    };
    return { ...rules, ownerOf: (ip) => rules.ownerOf(ip) ?? others(ip) };
  }

  #set(record: LeaseRecord): void {
    writeLeaseFile(this.#options.dir, record);
    this.#records.set(record.id, record);
    this.#due.delete(record.id);
    this.#arm();
  }

  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#stopped.signal.aborted || this.#records.size === 0) return;
    const next = Math.min(...[...this.#records.values()].map((record) => this.#dueAt(record)));
    const wait = Math.max(0, Math.min(next - now(), LONGEST_WAIT));
    this.#timer = setTimeout(() => this.#renewDue(), wait).unref();
  }

  #dueAt({ id, lease }: LeaseRecord): number {
    if (this.#busy.has(id)) return Number.POSITIVE_INFINITY;
    return this.#due.get(id) ?? lease.renewAt;
  }

  #renewDue(): void {
    const time = now();
    for (const record of this.#records.values()) {
      if (this.#dueAt(record) > time) continue;
      this.#busy.add(record.id);
      void this.#renew(record).finally(() => {
        this.#busy.delete(record.id);
        this.#arm();
      });
    }
    this.#arm();
  }

  /** Never rejects. */
  async #renew(record: LeaseRecord): Promise<void> {
    const { id, lease } = record;
    const { log } = this.#options;
    let answer: Awaited<ReturnType<typeof askToExtend>>;
    try {
      answer = await askToExtend(record, { ...this.#options, signal: this.#stopped.signal });
    } catch (error) {
      if (this.#stopped.signal.aborted) return;
      log.warn({ lease: lease.address, error: messageOf(error) }, 'cannot ask for more time');
    }
    // A DEL, or another ADD, came between.
    if (this.#records.get(id) !== record) return;
    try {
      if (answer === undefined) {
        if (phaseOf(lease, now()) === 'over') this.#lose(record, false);
      } else if (answer === 'refused') this.#lose(record, true);
      else if ('holder' in answer) {
        const taken = { ...record, holder: answer.holder };
        this.#set(taken);
        this.#lose(taken, true);
      } else this.#extend(record, answer);
    } catch (error) {
      log.warn({ lease: lease.address, error: messageOf(error) }, 'cannot follow a lease');
    }
    const current = this.#records.get(id);
    if (current && (current === record || current.lost)) this.#due.set(id, nextTry(current.lease, now()));
  }

  #extend(record: LeaseRecord, { renewAt, rebindAt, endsAt, server }: Lease): void {
    const { lost, holder, ...kept } = record;
    // What else a server says now, the pod has no way to learn.
    const lease = { ...record.lease, server, renewAt, rebindAt, endsAt };
    if (lost) {
      using place = openPlace(record);
      place?.restore(record);
      this.#options.log.info({ lease: lease.address, pod: record.id }, 'a pod has its address again');
    }
    this.#set({ ...kept, lease });
  }

  /** The address may be another's from now on, so the pod must not use it (RFC 2131 §4.4.5). */
  #lose(record: LeaseRecord, isRefused: boolean): void {
    using place = openPlace(record);
    if (!record.lost) {
      const { lease } = record;
      this.#set({
        ...record,
        lease: isRefused ? { ...lease, endsAt: Math.min(lease.endsAt, now()) } : lease,
        lost: place?.routes() ?? [],
      });
      this.#options.log.error(
        { lease: lease.address, pod: record.id, isRefused },
        'a pod has lost its address',
      );
    }
    // After the routes are on disk, so each time: an agent may have ended in between.
    place?.remove(record);
  }
}
