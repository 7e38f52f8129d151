import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Network } from '../cluster/network.ts';
import type { PerFamily, Underlay } from '../cluster/node.ts';
import { messageOf } from '../error.ts';
import { FAMILIES, type Family, familyOf } from '../ip/address.ts';
import { type Cidr, lastIp, nthIp } from '../ip/cidr.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../linux/netlink/socket.ts';
import type { Log } from '../log.ts';
import { carriedFamilies } from '../state/diff.ts';
import type { Item } from '../state/item.ts';
import { OUR_TABLE } from '../state/ownership.ts';
import { BRIDGE } from '../wiring/bridge.ts';
import type { Ruleset } from './expression.ts';
import type { Packet } from './packet.ts';
import {
  type BaseChain,
  baseChains,
  inSet,
  keyLength,
  NF_INET_FORWARD,
  NF_INET_PRE_ROUTING,
  type Rule,
  rulesOf,
} from './ruleset.ts';
import { drops } from './verdict.ts';

/** What the question whether pods' packets are forwarded depends on. */
export type ForwardFacts = {
  /** What pods have addresses of. */
  readonly networks: readonly Cidr[];
  /** The device a pod's packet comes from. */
  readonly podDevice: string;
  /** The device by which it leaves for another node. */
  readonly outDevice: PerFamily<string>;
};

/** Pure, from what the agent knows; `networks` as `ForwardFacts` has them. */
export function forwardFacts(
  networks: readonly Cidr[],
  { wiring }: Network,
  { dev, addresses }: Underlay,
  items: readonly Item[],
): ForwardFacts {
  const outDevice: { [F in Family]?: string } = {};
  for (const family of FAMILIES) if (addresses[family] !== undefined) outDevice[family] = dev;
  for (const item of items) {
    if (item.kind !== 'link') continue;
    for (const family of carriedFamilies(item.link)) outDevice[family] = item.name;
  }
  return { networks, podDevice: wiring === 'routed' ? ROUTED : BRIDGE, outDevice };
}

/** Any name of a routed pod's device: rules for them say `cali*`. */
const ROUTED = 'cali00000000000';

/**
 * Base chains of others that drop pods' packets on their way through this node, and what to do about each: Docker and ufw set the policy
 * of FORWARD to drop, firewalld ends its chain with a reject. Only what is certain: a chain whose rules may accept
 * them for reasons that can't be seen into is not named.
 */
export async function forwardProblems(socket: NetlinkSocket, facts: ForwardFacts): Promise<string[]> {
  const forward = await chainsOf(socket, NF_INET_FORWARD);
  if (forward.length === 0) return [];
  // A nat chain marks what it translates.
  const before = (await chainsOf(socket, NF_INET_PRE_ROUTING)).filter(({ chain }) => chain.type !== 'nat');
  const problems = new Set<string>();
  for (const network of facts.networks) {
    const family = familyOf(network);
    const passes = ({ chain }: Passed): boolean => chain.family === 'inet' || chain.family === IP[family];
    for (const packet of packets(network, facts)) {
      // What they decide is not our question, but what they write on the packet may decide in those that follow.
      for (const { chain, ruleset } of before.filter(passes)) await drops(chain, packet, ruleset);
      for (const { chain, ruleset } of forward.filter(passes)) {
        if (await drops(chain, packet, ruleset)) problems.add(problem(chain, family, network));
      }
    }
  }
  return [...problems];
}

const IP = { 4: 'ip', 6: 'ip6' } as const;

type Passed = { readonly chain: BaseChain; readonly ruleset: Ruleset };

/** Of others, in the order in which a packet goes through them. */
async function chainsOf(socket: NetlinkSocket, hook: number): Promise<Passed[]> {
  const found: BaseChain[] = [];
  for (const family of ['ip', 'ip6', 'inet'] as const)
    found.push(...(await baseChains(socket, family, hook)));
  return found
    .filter(({ table }) => table !== OUR_TABLE)
    .sort((a, b) => a.priority - b.priority)
    .map((chain) => ({ chain, ruleset: reader(socket, chain) }));
}

/** From a pod here to one elsewhere, and the other way. */
function packets(network: Cidr, { podDevice, outDevice }: ForwardFacts): Packet[] {
  const out = outDevice[familyOf(network)];
  if (out === undefined) return [];
  const [source, target] = [nthIp(network, 0), lastIp(network)];
  return [
    { source, target, from: podDevice, to: out, written: new Set() },
    { source: target, target: source, from: out, to: podDevice, written: new Set() },
  ];
}

/** Reads what it is asked for, each once. */
function reader(socket: NetlinkSocket, table: BaseChain): Ruleset {
  const chains = new Map<string, Promise<Rule[]>>();
  return {
    rules: (chain) => {
      const known = chains.get(chain) ?? rulesOf(socket, table, chain);
      chains.set(chain, known);
      return known;
    },
    keyLength: (set) => keyLength(socket, table, set),
    inSet: (set, key) => inSet(socket, table, set, key),
  };
}

function problem(chain: BaseChain, family: Family, network: Cidr): string {
  const where = `${chain.family} ${chain.table} ${chain.chain}`;
  return `pods are cut off: nft chain ${where} drops ${network}: ${accepting(chain, family, network)}`;
}

/** The commands that make it accept. */
function accepting(chain: BaseChain, family: Family, network: Cidr): string {
  if (chain.table === 'firewalld') {
    return `firewall-cmd --permanent --zone=trusted --add-source=${network} && firewall-cmd --reload`;
  }
  // What iptables' own chain is called in nftables.
  if (chain.table === 'filter' && chain.chain === 'FORWARD' && chain.family !== 'inet') {
    const command = family === 4 ? 'iptables' : 'ip6tables';
    return `${command} -I FORWARD -s ${network} -j ACCEPT; ${command} -I FORWARD -d ${network} -j ACCEPT`;
  }
  const place = `nft insert rule ${chain.family} ${chain.table} ${chain.chain}`;
  const address = family === 4 ? 'ip' : 'ip6';
  return `${place} ${address} saddr ${network} accept; ${place} ${address} daddr ${network} accept`;
}

/** Milliseconds: a restart of Docker or a firewall is hundreds of changes. */
const GATHER = 200;
/** Between looks: kube-proxy may never be quiet, and its chains may be thousands. */
const REST = 5000;

/** Looks at the chains of the hook forward when our facts are known or change, and when it is told that somebody changed nftables. */
export class ForwardWatch {
  /** As `forwardProblems` found them last. */
  problems: readonly string[] = [];
  readonly #log: Log;
  readonly #signal: AbortSignal;
  #facts: ForwardFacts | undefined;
  #again = false;
  #looking = false;
  #failure = '';

  constructor(log: Log, signal: AbortSignal) {
    this.#log = log;
    this.#signal = signal;
    if (hasLegacyFilter()) {
      log.info({}, 'iptables-legacy has a filter table: whether its rules let pods through is not looked at');
    }
  }

  update(facts: ForwardFacts): void {
    if (isDeepStrictEqual(facts, this.#facts)) return;
    this.#facts = facts;
    this.look();
  }

  /** Soon; one look answers for all that happened before it. */
  look(): void {
    this.#again = true;
    if (this.#looking) return;
    this.#looking = true;
    void this.#lookUntilQuiet().finally(() => {
      this.#looking = false;
    });
  }

  /** A node on which this can't be found out works all the same. */
  async #lookUntilQuiet(): Promise<void> {
    const signal = this.#signal;
    try {
      while (this.#again) {
        await sleep(GATHER, undefined, { signal });
        this.#again = false;
        await this.#lookNow().catch((error: unknown) => this.#failed(error));
        await sleep(REST, undefined, { signal });
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** A chain may have gone while it was read: the next look tells. */
  #failed(error: unknown): void {
    const reason = messageOf(error);
    if (reason !== this.#failure)
      this.#log.warn({ error: reason }, 'whether others let pods through is not known');
    this.#failure = reason;
    this.#again = true;
  }

  async #lookNow(): Promise<void> {
    if (!this.#facts) return;
    using socket = NetlinkSocket.open(NETLINK_NETFILTER);
    const problems = await forwardProblems(socket, this.#facts);
    for (const problem of problems) {
      if (!this.problems.includes(problem)) this.#log.warn({ problem }, 'pods are cut off');
    }
    this.problems = problems;
    this.#failure = '';
  }
}

/** Rules of iptables-legacy are not in nftables. */
function hasLegacyFilter(): boolean {
  return ['ip_tables_names', 'ip6_tables_names'].some((name) => {
    const file = `/proc/net/${name}`;
    return existsSync(file) && readFileSync(file, 'utf8').split('\n').includes('filter');
  });
}
