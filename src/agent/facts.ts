import { EventEmitter } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { within } from '../async/within.ts';
import { type Host, NO_HOST } from '../cluster/host.ts';
import type { Network } from '../cluster/network.ts';
import type { LocalPod, Node, Self, Underlay } from '../cluster/node.ts';
import type { OwnPort } from '../cluster/own-port.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import type { ClusterFacts } from '../companions/companion.ts';
import { FAMILIES } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { PolicyView } from '../policy/model/view.ts';
import { isKnown } from '../policy/node/subjects.ts';
import type { ClusterView } from '../store/ports/feed.ts';
import type { Server } from '../url.ts';
import type { AgentOptions } from './options.ts';
import { OwnSubnets } from './own-subnets.ts';
import { Pods, type PodsChange } from './pods.ts';
import { PolicyFacts } from './policy/facts.ts';
import { publishedNode } from './published.ts';
import { servedHere } from './served.ts';

/** What a starting agent needs, in order. */
type Step = 'underlay' | 'network' | 'subnets';

/**
 * Everything known about this node and its cluster. Sources set facts here; `changed` fires when anything
 * derived from them may have changed, `pods` when this node's pods have.
 */
export class Facts extends EventEmitter<{ changed: []; pods: [PodsChange] }> {
  readonly options: AgentOptions;
  readonly pods: Pods;
  readonly policy = new PolicyFacts(() => this.#changed());
  readonly own: OwnSubnets;
  readonly tunnelMacs: Self['tunnelMacs'];
  #underlay: Underlay | undefined;
  #host = NO_HOST;
  #servers: readonly Server[] = [];
  #serves: readonly OwnPort[] = [];
  #network: Network | undefined;
  #resources: Resources = NO_RESOURCES;
  #nodes: readonly Node[] | undefined;
  #complete = false;
  readonly #obstacles: { [S in Step]?: string } = {};
  #companion: unknown;
  #published: Node | undefined;
  /** Whether `#published` reflects the current facts. */
  #fresh = false;
  #self: Self | undefined;

  constructor(options: AgentOptions, tunnelMacs: Self['tunnelMacs'], pods: Iterable<LocalPod>) {
    super();
    // One for each pod whose policies are awaited.
    this.setMaxListeners(0);
    this.options = options;
    this.tunnelMacs = tunnelMacs;
    this.pods = new Pods(pods, (what) => this.emit('pods', what));
    this.own = new OwnSubnets(this, () => this.#changed());
  }

  get #healthPorts(): OwnPort[] {
    const { health } = this.options;
    if (!health) return [];
    const why = 'is where this node’s agent tells its health';
    return [{ protocol: 'tcp', first: health.port, last: health.port, why }];
  }

  get underlay(): Underlay | undefined {
    return this.#underlay;
  }

  setUnderlay(underlay: Underlay): void {
    this.#underlay = underlay;
    this.#changed();
  }

  /** What this node's host uses apart from the pod network. */
  get host(): Host {
    return this.#host;
  }

  setHost(host: Host): void {
    this.#host = host;
    this.#serves = [...servedHere(this.#servers, host, this.options.node), ...this.#healthPorts];
    this.#changed();
  }

  /** The servers of the store. */
  setServers(servers: readonly Server[]): void {
    this.#servers = servers;
    this.setHost(this.#host);
  }

  /** The ports at which this node serves its cluster's store, and its own health. */
  get serves(): readonly OwnPort[] {
    return this.#serves;
  }

  get network(): Network | undefined {
    return this.#network;
  }

  setNetwork(network: Network): void {
    this.#network = network;
    this.#changed();
  }

  get resources(): Resources {
    return this.#resources;
  }

  /** Every node of the cluster, this one too; undefined until they are known. */
  get nodes(): readonly Node[] | undefined {
    return this.#nodes;
  }

  /**
   * Whether the nodes, this node's own subnets and the policies come from the store, so that what is missing
   * from them is gone: those remembered from before the start may lack the latest.
   */
  get isComplete(): boolean {
    return this.#complete && this.own.standing !== 'remembered' && this.policy.suffice(this.#network?.policy);
  }

  /**
   * The policies once the rest of the cluster is known, too: what a former agent has left must be allowed to
   * go with the first tables that are applied, as numbers may differ.
   */
  get enforcedPolicies(): PolicyView | undefined {
    return this.isComplete ? this.policy.view : undefined;
  }

  /** Waits until the policies about a pod can be enforced, for so many milliseconds; whether they can. */
  async untilPoliciesKnow(pod: LocalPod, patience: number): Promise<boolean> {
    const known = Promise.withResolvers<boolean>();
    const look = (): void => {
      const policies = this.enforcedPolicies;
      if (policies && isKnown(pod, policies)) known.resolve(true);
    };
    this.on('changed', look);
    try {
      look();
      return await within(patience, known.promise, false);
    } finally {
      this.off('changed', look);
    }
  }

  /** `complete`: the view came from the store, not from disk. */
  setCluster({ nodes, network, resources }: ClusterView, complete: boolean): void {
    this.#nodes = nodes;
    this.#network = network;
    this.#resources = resources;
    this.#complete ||= complete;
    this.own.follow();
    this.#changed();
  }

  get subnets(): readonly Cidr[] | undefined {
    return this.own.list;
  }

  /** Whether the store confirms that this machine is the node of its name. */
  get isMember(): boolean {
    return this.own.standing === 'confirmed';
  }

  /** The store confirms these as ours. */
  confirmSubnets(subnets: readonly Cidr[]): void {
    delete this.#obstacles.subnets;
    this.own.confirm(subnets);
  }

  loseSubnets(reason: string): void {
    this.setObstacle('subnets', reason);
    this.own.lose();
  }

  /** Why the last attempt to get a missing fact failed; undefined while none has. */
  obstacle(step: Step): string | undefined {
    return this.#obstacles[step];
  }

  setObstacle(step: Step, reason: string): void {
    this.#obstacles[step] = reason;
  }

  /** Facts published by the backend's companion. */
  get companion(): unknown {
    return this.#companion;
  }

  setCompanion(facts: unknown): void {
    if (isDeepStrictEqual(facts, this.#companion)) return;
    this.#companion = facts;
    this.#changed();
  }

  get usesBlocks(): boolean {
    return this.#network?.addresses === 'blocks';
  }

  /** The CIDRs that the cluster's pod addresses come from. */
  get podNetworks(): readonly Cidr[] {
    if (this.usesBlocks) return this.#resources.ipPools.map(({ cidr }) => cidr);
    return FAMILIES.flatMap((family) => this.#network?.pools[family]?.cidr ?? []);
  }

  /**
   * The labels this agent was started with, besides those that the store has for the node, such as its Node
   * object's; the Node resource's override both.
   */
  get labels(): Readonly<Record<string, string>> {
    const { node, labels } = this.options;
    const stored = this.#nodes?.find(({ name }) => name === node)?.labels;
    return { ...stored, ...labels, ...this.#resources.nodes[node]?.labels };
  }

  /**
   * This node as published to its peers; undefined until known. The same object until it changes. Throws
   * CONFIG_INVALID.
   */
  get published(): Node | undefined {
    if (this.#fresh || !this.#underlay || !this.#network) return this.#published;
    const node = publishedNode(this.options, {
      network: this.#network,
      underlay: this.#underlay,
      tunnelMacs: this.tunnelMacs,
      subnets: this.subnets ?? [],
      resources: this.#resources,
      companion: this.#companion,
    });
    if (!isDeepStrictEqual(node, this.#published)) this.#published = node;
    this.#fresh = true;
    return this.#published;
  }

  /** This node as the desired state sees it. The same object until it changes. Throws CONFIG_INVALID. */
  get self(): Self | undefined {
    const [node, underlay, host, companion] = [this.published, this.#underlay, this.#host, this.#companion];
    if (!node || !underlay) return undefined;
    const last = this.#self;
    const isSame = last?.node === node && last.underlay === underlay && last.host === host;
    const serves = this.#serves;
    if (isSame && last.companion === companion && last.serves === serves) return last;
    const { tunnelMacs } = this;
    this.#self = { node, underlay, host, serves, tunnelMacs, ...(companion !== undefined && { companion }) };
    return this.#self;
  }

  /** The facts passed to companions; undefined until the cluster is known. */
  get cluster(): ClusterFacts | undefined {
    const [network, nodes] = [this.#network, this.#nodes];
    if (!network || !nodes) return undefined;
    return { network, nodes, resources: this.#resources, labels: this.labels, isMember: this.isMember };
  }

  /** The subnets recorded under this node's name. */
  get recorded(): readonly Cidr[] | undefined {
    return this.#nodes?.find(({ name }) => name === this.options.node)?.subnets;
  }

  #changed(): void {
    this.#fresh = false;
    this.emit('changed');
  }
}
