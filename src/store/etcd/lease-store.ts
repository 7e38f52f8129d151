import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultPools } from '../../cluster/calico/default-pools.ts';
import { titleOf } from '../../cluster/calico/document.ts';
import { type Network, readNetwork } from '../../cluster/network.ts';
import type { NodeFacts, PerFamily } from '../../cluster/node.ts';
import { codeOf, FlatnetError } from '../../error.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Log } from '../../log.ts';
import type { KeyValue, Kv } from '../kv/kv.ts';
import type { Claim, ClusterView, Store } from '../ports/store.ts';
import { chooseSubnets } from './acquire.ts';
import { isNameAnswered } from './challenge.ts';
import { type ClaimContext, LeaseClaim, lostRaces, readState } from './claim.ts';
import type { ClusterState } from './cluster-state.ts';
import { Feed } from './feed.ts';
import { type Holding, sharesAddress, writeHolding } from './holding.ts';
import { DEFAULT_PREFIX, Layout } from './layout.ts';
import { putDocument } from './resource-store.ts';

export type LeaseOptions = {
  /** flannel's `--etcd-prefix`; `/coreos.com/network` unless told. */
  readonly prefix?: string | undefined;
  /** Seconds a lease lives without renewal; flannel's 24 h unless told. */
  readonly leaseTtl?: number | undefined;
  /** Milliseconds a living agent has to answer for its node's name. */
  readonly answerTime?: number;
};

const MAX_RACES = 100;
/** Milliseconds: changes that come this close together make one view. */
const COALESCE = 10;

/** The cluster's facts in flannel's etcd layout, and below `<prefix>/flatnet/` what flannel has no place for. */
export class LeaseStore implements Store {
  readonly kv: Kv;
  readonly prefix: string;
  readonly #layout: Layout;
  readonly #feed: Feed;
  readonly #log: Log;
  readonly #ttl: number;
  readonly #answerTime: number;
  readonly #closed = new AbortController();

  constructor(kv: Kv, options: LeaseOptions, log: Log) {
    this.kv = kv;
    this.prefix = options.prefix ?? DEFAULT_PREFIX;
    this.#layout = new Layout(this.prefix);
    this.#feed = new Feed(kv, this.#layout, log);
    this.#log = log;
    this.#ttl = options.leaseTtl ?? 86_400;
    this.#answerTime = options.answerTime ?? 3_000;
  }

  async network(): Promise<Network> {
    return this.#parse(await this.kv.get(this.#layout.config));
  }

  async acquire(self: NodeFacts, previous: PerFamily<Cidr>): Promise<Claim> {
    checkName(self.name);
    const instance = randomUUID();
    const { id: lease } = await this.kv.grant(this.#ttl);
    try {
      return await this.#acquire(self, previous, instance, lease);
    } catch (error) {
      // After a broken connection our keys may be under this lease: then they must stay, and the next try finds them.
      if (codeOf(error) !== 'STORE_UNAVAILABLE') await this.kv.revoke(lease).catch(() => {});
      throw error;
    }
  }

  async *watch(signal: AbortSignal): AsyncIterable<ClusterView> {
    const ended = AbortSignal.any([signal, this.#closed.signal]);
    let news = Promise.withResolvers<void>();
    const unfollow = this.#feed.follow(() => news.resolve());
    const wake = (): void => news.resolve();
    ended.addEventListener('abort', wake);
    let last: ClusterView | undefined;
    try {
      while (!ended.aborted) {
        await news.promise;
        await sleep(COALESCE, undefined, { signal: ended }).catch(() => {});
        news = Promise.withResolvers<void>();
        if (ended.aborted) return;
        const view = this.#feed.state.view();
        if (view && view !== last) yield view;
        last = view;
      }
    } finally {
      ended.removeEventListener('abort', wake);
      unfollow();
    }
  }

  close(): void {
    this.#closed.abort();
    this.#feed.close();
    this.kv.close();
  }

  async #acquire(
    self: NodeFacts,
    previous: PerFamily<Cidr>,
    instance: string,
    lease: string,
  ): Promise<Claim> {
    for (let race = 1; race <= MAX_RACES; race++) {
      const state = await readState(this.kv, this.#layout);
      const network = this.#parse(state.item(this.#layout.config));
      await this.#checkRival(self, state, instance);
      await this.#makePools(state, network);
      const { subnets, held } = chooseSubnets(state, network, self, previous, Math.random);
      const holding: Holding = { self, subnets, instance };
      const drop = [...held.map(({ kv }) => kv), ...familyKeys(state, self.name)];
      const result = await this.kv.txn(writeHolding(this.#layout, state, holding, drop, lease));
      if (result.succeeded) {
        await this.#endLease(state.leases.record(self.name)?.kv);
        this.#log.info({ node: self.name, subnets, races: race - 1 }, 'subnets taken');
        return new LeaseClaim(this.#context(), holding, lease, result.revision);
      }
      await sleep(Math.random() * Math.min(10 * race, 500));
    }
    throw lostRaces(MAX_RACES);
  }

  /**
   * As Calico does where there is no pool yet. Only once: who deletes the last one does not find it made again.
   */
  async #makePools(state: ClusterState, network: Network): Promise<void> {
    if (network.addresses === 'lease' || state.item(this.#layout.pools)) return;
    const pools = state.resources.ipPools.length > 0 ? [] : defaultPools(network);
    const puts = pools.map((pool) => putDocument(this.#layout, pool));
    const { succeeded } = await this.kv.txn({
      compare: [{ key: this.#layout.pools, target: 'version', equals: 0 }],
      success: [{ op: 'put', key: this.#layout.pools, value: 'default' }, ...puts],
    });
    if (succeeded && pools.length > 0) this.#log.info({ pools: pools.map(titleOf) }, 'default pools made');
  }

  #context(): ClaimContext {
    const signal = this.#closed.signal;
    return { kv: this.kv, layout: this.#layout, feed: this.#feed, log: this.#log, ttl: this.#ttl, signal };
  }

  /**
   * A node that comes with an address of its record is that node, started again. With other addresses it may be that node,
   * moved, or a second one by mistake: then the agent that wrote the record, if it lives, answers a challenge. Throws
   * NAME_TAKEN.
   */
  async #checkRival(self: NodeFacts, state: ClusterState, instance: string): Promise<void> {
    const rival = state.leases.record(self.name)?.record;
    if (!rival || sharesAddress(self, rival.addresses)) return;
    const key = this.#layout.challenge(self.name);
    if (!(await isNameAnswered(this.kv, key, instance, this.#answerTime))) return;
    const where = Object.values(rival.addresses).join(', ');
    throw new FlatnetError(`a node at ${where} has this name and is alive`, {
      code: 'NAME_TAKEN',
      operation: 'lease acquire',
      object: self.name,
      fix: 'give each node a name of its own',
    });
  }

  /** Our keys have left the lease of this node's former agent; nothing else was ever under it. */
  async #endLease(record: KeyValue | undefined): Promise<void> {
    if (record && record.lease !== '0') await this.kv.revoke(record.lease).catch(() => {});
  }

  #parse(kv: KeyValue | undefined): Network {
    if (kv) return readNetwork(parseJson(kv));
    throw new FlatnetError('there is no network configuration', {
      code: 'NOT_FOUND',
      operation: 'store read',
      object: this.#layout.config,
      fix: 'write net-conf.json there',
    });
  }
}

function familyKeys(state: ClusterState, name: string): KeyValue[] {
  return [...state.facts()].flatMap((fact) =>
    fact.kind === 'family' && fact.kv.value === name ? [fact.kv] : [],
  );
}

function parseJson({ key, value }: KeyValue): unknown {
  try {
    return JSON.parse(value);
  } catch (cause) {
    throw new FlatnetError('is not JSON', { code: 'CONFIG_INVALID', object: key, cause });
  }
}

function checkName(name: string): void {
  // RFC 1123 §2.1; Kubernetes allows dots in a node's name.
  if (/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(name) && name.length <= 253) return;
  throw new FlatnetError(`'${name}' is not a DNS name`, {
    code: 'NAME_INVALID',
    object: 'node',
    fix: "use lower-case letters, digits, '-' and '.'",
  });
}
