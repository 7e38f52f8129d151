import { randomUUID } from 'node:crypto';
import { pause } from '../../async/pause.ts';
import { isNodeName } from '../../cluster/names.ts';
import type { Network } from '../../cluster/network.ts';
import type { Node, NodeFacts, PerFamily } from '../../cluster/node.ts';
import { codeOf, FlatnetError } from '../../error.ts';
import { familyOf } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { KeyValue } from '../kv/kv.ts';
import type { Claim, Member, Membership, Placement } from '../ports/membership.ts';
import { chooseSubnets } from './acquire.ts';
import { type ClaimContext, LeaseClaim, lostRaces, readState } from './claim.ts';
import type { ClusterState } from './cluster-state.ts';
import type { Lease } from './facts.ts';
import { type Holding, sharesAddress, writeHolding } from './holding.ts';
import { networkFrom } from './network.ts';
import { obstacleTo, placement } from './placement.ts';
import type { EtcdResources } from './resources.ts';

export type MembershipContext = ClaimContext & {
  readonly resources: EtcdResources;
  /** Milliseconds within which a live agent must answer a challenge. */
  readonly answerTime: number;
};

const MAX_RACES = 100;
/** Milliseconds between checks for an answer. */
const POLL = 100;
/** Milliseconds to wait for the feed, which reads everything a joining node needs. */
const PATIENCE = 2000;

/**
 * Nodes as flannel's leases plus our own records: one transaction writes all of a node's keys, under one etcd
 * lease. Under the `blocks` plan there is only the record.
 */
export class EtcdMembership implements Membership {
  readonly #context: MembershipContext;

  constructor(context: MembershipContext) {
    this.#context = context;
  }

  async join(self: NodeFacts, previous: PerFamily<Cidr>): Promise<Claim> {
    checkName(self.name);
    const { kv, ttl } = this.#context;
    const instance = randomUUID();
    const requested = new Date();
    const { id: lease } = await kv.grant(ttl);
    try {
      return await this.#join(self, previous, { instance, lease, requested });
    } catch (error) {
      // The connection broke, and our keys may be attached to this lease: they must stay for the next try to
      // find.
      if (codeOf(error) !== 'STORE_UNAVAILABLE') await kv.revoke(lease).catch(() => {});
      throw error;
    }
  }

  async members(): Promise<readonly Member[]> {
    const state = await this.#read();
    const leases = [...state.facts()].flatMap((fact) => (fact.kind === 'lease' ? [fact] : []));
    const members = await Promise.all(leases.map((lease) => this.#member(state, lease)));
    return members.sort((a, b) => a.node.localeCompare(b.node, 'en', { numeric: true }));
  }

  async names(): Promise<ReadonlySet<string>> {
    const { kv, layout } = this.#context;
    const { items } = await kv.list(layout.nodes);
    return new Set(items.map(({ key }) => key.slice(layout.nodes.length)));
  }

  async isAlive(node: string, patience = this.#context.answerTime): Promise<boolean> {
    const { kv, layout } = this.#context;
    if (!(await kv.get(layout.node(node)))) return false;
    return this.#isAnswered(node, randomUUID(), patience);
  }

  async forget(node: string): Promise<boolean> {
    const { kv, layout } = this.#context;
    const record = await kv.get(layout.node(node));
    const { items: pods } = await kv.list(layout.policies.pods(node));
    for (const { key } of pods) await kv.delete(key);
    if (!record) return false;
    // All keys the agent wrote about the node itself are attached to one lease.
    if (record.lease !== '0') await kv.revoke(record.lease);
    else await kv.delete(record.key);
    return true;
  }

  async place(nodes: readonly Node[], dryRun = false): Promise<readonly Placement[]> {
    const { kv, layout, ttl } = this.#context;
    const state = await this.#read();
    const placements = nodes.map((node) => obstacleTo(state, node));
    for (const [i, node] of nodes.entries()) {
      if (dryRun || placements[i]?.outcome !== 'placed') continue;
      // One for each, as if its agent had asked for it.
      const { id: lease } = await kv.grant(ttl);
      const { succeeded } = await kv.txn(placement(layout, state, node, lease));
      if (succeeded) continue;
      await kv.revoke(lease);
      throw lostRaces(1);
    }
    return placements;
  }

  async #join(
    self: NodeFacts,
    previous: PerFamily<Cidr>,
    { instance, lease, requested }: { instance: string; lease: string; requested: Date },
  ): Promise<Claim> {
    const { kv, layout, log, resources, feed } = this.#context;
    for (let race = 1; race <= MAX_RACES; race++) {
      // The feed's state may be slightly stale; the transaction fails then.
      const state = (race === 1 && (await feed.known(PATIENCE))) || (await this.#read());
      const network = this.#networkIn(state);
      await this.#checkRival(self, state, instance);
      if (network.addresses === 'blocks' && !state.item(layout.pools)) {
        const created = await resources.createDefaultPools(network, state.resources.ipPools);
        if (created.length > 0) log.info({ pools: created }, 'default pools created');
      }
      const { subnets, held } = chooseSubnets(state, network, self, previous, Math.random);
      const holding: Holding = { self, subnets, instance };
      const drop = [...held.map(({ kv: item }) => item), ...familyKeys(state, self.name)];
      // Read this now: the feed keeps updating the state, which may contain our own record after the
      // transaction.
      const former = state.leases.record(self.name)?.kv;
      const result = await kv.txn(writeHolding(layout, state, holding, drop, lease));
      if (result.succeeded) {
        await this.#endLease(former);
        log.info({ node: self.name, subnets, races: race - 1 }, 'subnets claimed');
        return new LeaseClaim(this.#context, holding, lease, requested, result.revision);
      }
      await pause(Math.random() * Math.min(10 * race, 500));
    }
    throw lostRaces(MAX_RACES);
  }

  /** The network in force: the feed may know one from before the configuration became invalid. */
  #networkIn(state: ClusterState): Network {
    const { layout, feed, check } = this.#context;
    const item = state.item(layout.config);
    const inForce = item && (state.view() ?? feed.state.view())?.network;
    return inForce ?? networkFrom(item, layout, check);
  }

  /**
   * Throws NAME_TAKEN if another live node has this name. A node that shares an address with the record is
   * that node, restarted. With other addresses, it may be that node, moved, or a second one by mistake: the
   * agent that wrote the record, if alive, answers a challenge.
   */
  async #checkRival(self: NodeFacts, state: ClusterState, instance: string): Promise<void> {
    const rival = state.leases.record(self.name)?.record;
    if (!rival || sharesAddress(self, rival.addresses)) return;
    if (!(await this.#isAnswered(self.name, instance, this.#context.answerTime))) return;
    const where = Object.values(rival.addresses).join(', ');
    throw new FlatnetError(`a live node at ${where} already has this name`, {
      code: 'NAME_TAKEN',
      operation: 'lease acquire',
      object: self.name,
      fix: 'give each node a unique name',
    });
  }

  /**
   * Writes a challenge, which a live agent deletes. Returns false if it is still there after `time`
   * milliseconds: the agent is dead or cannot reach the store. Costs nothing until two agents want one name.
   */
  async #isAnswered(node: string, instance: string, time: number): Promise<boolean> {
    const { kv, layout } = this.#context;
    const key = layout.challenge(node);
    const { id: lease } = await kv.grant(Math.ceil(time / 1000) + 10);
    try {
      await kv.put(key, instance, { lease });
      for (const end = performance.now() + time; performance.now() < end; ) {
        await pause(POLL);
        if (!(await kv.get(key))) return true;
      }
      return false;
    } finally {
      await kv.revoke(lease);
    }
  }

  async #member(state: ClusterState, { kv: item, subnets, value }: Lease): Promise<Member> {
    const publicIp = value?.addresses[subnets[0] ? familyOf(subnets[0]) : 4];
    const expires = item.lease === '0' ? undefined : await this.#context.kv.timeToLive(item.lease);
    return {
      node: state.leases.ownerOf(item.key) ?? publicIp ?? item.key,
      subnets,
      ...(publicIp !== undefined && { publicIp }),
      ...(value && { backend: value.backend.type }),
      ...(expires === undefined ? { reserved: true as const } : { expires }),
    };
  }

  /** Ends the former agent's lease: our keys have moved off it, and it had no others. */
  async #endLease(record: KeyValue | undefined): Promise<void> {
    if (record && record.lease !== '0') await this.#context.kv.revoke(record.lease).catch(() => {});
  }

  #read(): Promise<ClusterState> {
    return readState(this.#context);
  }
}

function familyKeys(state: ClusterState, name: string): KeyValue[] {
  return [...state.facts()].flatMap((fact) =>
    fact.kind === 'family' && fact.kv.value === name ? [fact.kv] : [],
  );
}

function checkName(name: string): void {
  if (isNodeName(name)) return;
  throw new FlatnetError(`'${name}' is not a DNS name`, {
    code: 'NAME_INVALID',
    object: 'node',
    fix: "use lower-case letters, digits, '-' and '.'",
  });
}
