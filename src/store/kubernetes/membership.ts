import { randomUUID } from 'node:crypto';
import { isNodeName } from '../../cluster/names.ts';
import type { Network } from '../../cluster/network.ts';
import type { Node, NodeFacts } from '../../cluster/node.ts';
import { codeOf, FlatnetError } from '../../error.ts';
import { FAMILIES, familyOf } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import { list } from '../../kubernetes/api/list.ts';
import type { KubernetesObject } from '../../kubernetes/api/object.ts';
import { getIfAny } from '../../kubernetes/change.ts';
import { LEASES, readLease } from '../../kubernetes/election/lease-record.ts';
import { EventRecorder } from '../../kubernetes/events/recorder.ts';
import type { Claim, Member, Membership, NotedPod, Obstacle, Placement } from '../ports/membership.ts';
import { type ClaimContext, leave, NodeClaim, writeNode } from './claim.ts';
import type { ClusterState } from './cluster-state.ts';
import { NODES } from './kinds.ts';
import { reachable } from './node/annotations.ts';
import { conditionPatch, conditionText, NETWORK_UNAVAILABLE } from './node/patch.ts';
import { type NodeReading, readNode } from './node/read.ts';
import { obstacleTo, placeNode } from './placement.ts';
import { PODCIDR_FIX } from './problems.ts';
import type { KubernetesResources } from './resources.ts';

/** Where kubelets renew the Leases that say that their nodes live. */
const NODE_LEASES = 'kube-node-lease';
/** Milliseconds after which a kubelet's Lease has run out: its default. */
const LEASE_LASTS = 40_000;
/** Milliseconds for which others may overrule a condition: a quarrel helps nobody, and the feed lags. */
const CORRECTED_AFTER = 10_000;

export type MembershipContext = ClaimContext & {
  /** Whether the condition NetworkUnavailable is written. */
  readonly announces: boolean;
  readonly resources: KubernetesResources;
};

/**
 * Nodes as Kubernetes' Node objects: kube-controller-manager assigns their subnets (spec.podCIDRs), and their
 * agents publish the rest in flannel's annotations and one of ours.
 */
export class KubernetesMembership implements Membership {
  readonly #context: MembershipContext;
  #events: EventRecorder | undefined;
  /** Apart from the node's own, which many pods with one trouble must not crowd out. */
  #podEvents: EventRecorder | undefined;
  #announced: { readonly node: string; readonly text: string; readonly at: number } | undefined;

  constructor(context: MembershipContext) {
    this.#context = context;
  }

  /** Unlike other stores, takes what the Node was assigned, whatever the node had before. */
  async join(self: NodeFacts): Promise<Claim> {
    const { keys, feed, resources, log } = this.#context;
    checkName(self.name);
    const state = await feed.current();
    const network = state.network;
    // Without one, it threw NOT_FOUND.
    if (!network) throw new FlatnetError('there is no network configuration', { code: 'NOT_FOUND' });
    const families = FAMILIES.filter((family) => network.pools[family] && self.addresses[family]);
    if (families.length === 0) throw noAddress(network);
    const reading = readNode(keys, await this.#node(self.name));
    const usesBlocks = network.addresses === 'blocks';
    if (usesBlocks && (await resources.createDefaultPools(network)).isUnknown) {
      const fix = 'apply deploy/rbac/calico.yaml, or create a pool with flatnet apply';
      log.warn({ fix }, 'no default pool is created, as Calico may have pools, which are not ours to read');
    }
    const subnets = network.addresses === 'lease' ? ownSubnets(state, network, self, reading) : [];
    const holding = { self, subnets, instance: randomUUID() };
    const written = await writeNode(this.#context, holding);
    log.info({ node: self.name, subnets }, 'subnets confirmed');
    return new NodeClaim(this.#context, holding, written);
  }

  async members(): Promise<readonly Member[]> {
    const state = await this.#context.feed.current();
    // Blocks are not a node's lease.
    const { addresses: plan = 'lease' } = state.network ?? {};
    const nodes = plan === 'lease' ? (state.view()?.nodes ?? []) : [];
    const members = nodes.flatMap(({ name: node, subnets, addresses, backend }): Member[] => {
      const [first] = subnets;
      if (first === undefined) return [];
      const publicIp = addresses[familyOf(first)];
      return [{ node, subnets, ...(publicIp !== undefined && { publicIp }), backend: backend.type }];
    });
    return members.sort((a, b) => a.node.localeCompare(b.node, 'en', { numeric: true }));
  }

  async names(): Promise<ReadonlySet<string>> {
    const state = await this.#context.feed.current();
    return new Set([...state.readings()].flatMap(({ name, published }) => (published ? [name] : [])));
  }

  /** Whether the kubelet lives: an agent that has crashed on it is restarted. */
  async isAlive(node: string): Promise<boolean> {
    const { client } = this.#context;
    const lease = await getIfAny(client, LEASES, { namespace: NODE_LEASES, name: node });
    if (!lease) return false;
    return Date.now() - Date.parse(readLease(lease).renewed) < LEASE_LASTS;
  }

  forget(node: string): Promise<boolean> {
    return leave(this.#context, node);
  }

  /** The Nodes must be there; those without a podCIDR get the subnets as theirs. */
  async place(nodes: readonly Node[], dryRun = false): Promise<readonly Placement[]> {
    const { client, keys } = this.#context;
    const { items } = await list(client, NODES, (object) => readNode(keys, object));
    const readings = new Map(items.map((reading) => [reading.name, reading]));
    const placements = nodes.map((node) => obstacleTo(readings, node));
    for (const [i, node] of nodes.entries()) {
      const reading = readings.get(node.name);
      if (dryRun || !reading || placements[i]?.outcome !== 'placed') continue;
      await placeNode(this.#context, reading, node);
    }
    return placements;
  }

  /** Sets the condition NetworkUnavailable: while it is True, the scheduler puts no pods on the node. */
  async announce(node: string, obstacle: Obstacle | undefined): Promise<void> {
    const { client, announces, feed } = this.#context;
    if (!announces) return;
    const fine = { reason: 'FlatnetIsUp', message: 'flatnet is running on this node' };
    const condition = {
      type: NETWORK_UNAVAILABLE,
      status: obstacle ? 'True' : 'False',
      ...(obstacle ?? fine),
    } as const;
    const text = conditionText(condition);
    if (feed.state.reading(node)?.condition === text) return;
    const [last, now] = [this.#announced, performance.now()];
    if (last?.node === node && last.text === text && now - last.at < CORRECTED_AFTER) return;
    const patch = conditionPatch(condition, await this.#node(node), new Date());
    if (patch) await client.patch(NODES, { name: node }, 'strategic', patch, { subresource: 'status' });
    this.#announced = { node, text, at: now };
  }

  /** Writes an Event, which `kubectl describe node` or `kubectl describe pod` shows. */
  note(node: string, { reason, message }: Obstacle, pod?: NotedPod): void {
    const { client, log, signal } = this.#context;
    const reporter = { controller: 'flatnet.dev/agent', instance: node };
    const about = { type: 'Warning', reason, action: 'CheckNetwork', note: message } as const;
    if (pod) {
      this.#podEvents ??= new EventRecorder({ client, reporter, log, signal });
      this.#podEvents.record({ ...about, regarding: { apiVersion: 'v1', kind: 'Pod', ...pod } });
      return;
    }
    this.#events ??= new EventRecorder({ client, reporter, log, signal });
    // Kubelets, too, give the name for the UID; kubectl looks for both.
    const regarding = { apiVersion: 'v1', kind: 'Node', name: node, uid: node };
    this.#events.record({ ...about, regarding });
  }

  async #node(name: string): Promise<KubernetesObject> {
    try {
      return await this.#context.client.get(NODES, { name });
    } catch (cause) {
      if (codeOf(cause) !== 'NOT_FOUND') throw cause;
      throw new FlatnetError('there is no such Node', {
        code: 'NOT_FOUND',
        operation: 'lease acquire',
        object: `Node ${name}`,
        fix: 'wait for its kubelet to register it, or set node to the name that the kubelet uses',
        cause,
      });
    }
  }
}

/** The subnets that a Node was assigned, in the families that it has. Throws OUT_OF_SUBNETS. */
function ownSubnets(
  state: ClusterState,
  network: Network,
  { name, addresses }: NodeFacts,
  reading: NodeReading,
): readonly Cidr[] {
  const subnets = reachable(reading.subnets, addresses).filter((cidr) => network.pools[familyOf(cidr)]);
  if (subnets.length === 0) throw noSubnet(network, reading);
  const refusal = refusalOf(state, reading);
  if (refusal !== undefined) throw refused(name, refusal);
  return subnets;
}

/** Why others deny a Node its subnets; the state may not know it yet. */
function refusalOf(state: ClusterState, reading: NodeReading): string | undefined {
  const known = state.reading(reading.name);
  if (!known || known.uid !== reading.uid || `${known.subnets}` !== `${reading.subnets}`) state.set(reading);
  return state.refusal(reading.name);
}

function noSubnet(network: Network, { name, subnets, problems }: NodeReading): FlatnetError {
  const pools = Object.values(network.pools).map(({ cidr }) => cidr);
  const what = subnets.length > 0 ? `spec.podCIDRs is ${subnets.join(', ')}: of another family` : problems[0];
  return new FlatnetError(what ?? 'spec.podCIDR is not set', {
    code: 'OUT_OF_SUBNETS',
    operation: 'lease acquire',
    object: `Node ${name}`,
    fix: `start kube-controller-manager with --allocate-node-cidrs --cluster-cidr=${pools.join(',')}`,
  });
}

function refused(name: string, reason: string): FlatnetError {
  return new FlatnetError(reason, {
    code: 'OUT_OF_SUBNETS',
    operation: 'lease acquire',
    object: `spec.podCIDRs of Node ${name}`,
    fix: PODCIDR_FIX,
  });
}

function noAddress(network: Network): FlatnetError {
  const families = Object.keys(network.pools).map((family) => `IPv${family}`);
  return new FlatnetError(`this node has no ${families.join(' or ')} address`, {
    code: 'CONFIG_INVALID',
    operation: 'lease acquire',
    fix: 'give the underlay interface one, or name another interface',
  });
}

function checkName(name: string): void {
  if (isNodeName(name)) return;
  throw new FlatnetError(`'${name}' is not a DNS name`, {
    code: 'NAME_INVALID',
    object: 'node',
    fix: "use lower-case letters, digits, '-' and '.'",
  });
}
