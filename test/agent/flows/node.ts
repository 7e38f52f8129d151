import type { TestContext } from 'node:test';
import { Cut } from '../../../src/agent/flows/cut.ts';
import { familyOf, type Ip, ipFromBigInt, ipToBigInt, parseIp } from '../../../src/ip/address.ts';
import { hostCidr, parseCidr } from '../../../src/ip/cidr.ts';
import { linkLocalOf } from '../../../src/ip/mac.ts';
import { type Forwarded, forwardedDump } from '../../../src/linux/conntrack/forwarded.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../../src/linux/netlink/socket.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { elementAdd } from '../../../src/linux/nftables/element.ts';
import { commit } from '../../../src/linux/nftables/transaction.ts';
import { SILENT } from '../../../src/log.ts';
import { type Compiled, compilePolicies } from '../../../src/policy/compile/compile.ts';
import { Memory } from '../../../src/policy/compile/memory.ts';
import { endedElement } from '../../../src/policy/flows/ended.ts';
import {
  type Ended,
  endedSet,
  endedTable,
  endedTableOf,
  MOST_REMEMBERED,
  pairSet,
} from '../../../src/policy/flows/table.ts';
import type { PodEntity } from '../../../src/policy/model/entity.ts';
import { netMatcher } from '../../../src/policy/model/matcher.ts';
import type { Rule, Tier } from '../../../src/policy/model/policy.ts';
import { TCP } from '../../../src/policy/model/traffic.ts';
import type { Item } from '../../../src/state/item.ts';
import type { Report } from '../../../src/state/reporter.ts';
import { labelled } from '../../policy/arbitrary.ts';
import { macOf, NODE, PODS, PODS6, RoutedNode } from '../../policy/routed-node.ts';
import { Running } from '../../state/namespace.ts';

/** What may be sent to the pods with the label `isolated`. */
const FRIENDS: Rule = {
  name: 'friends',
  action: 'allow',
  peers: [{ are: [labelled('friend')], areNot: [] }],
};

const LINK_LOCAL = parseCidr('fe80::/10');

const is =
  (label: string) =>
  ({ labels }: PodEntity): boolean =>
    label in labels;

/** `blocks`: so many networks may send to the isolated, besides. */
function tiersOf(blocks: number): readonly Tier[] {
  const others = Array.from({ length: blocks }, (_, i): Rule => {
    const net = netMatcher([parseCidr(`172.16.${i}.0/24`)]);
    return { name: `block[${i}]`, action: 'allow', peers: [{ are: [net], areNot: [] }] };
  });
  const policy = { kind: 'Test', order: 0 };
  const policies = [
    {
      ...policy,
      name: 'i',
      subject: { text: 'isolated', selects: is('isolated') },
      ingress: [FRIENDS, ...others],
    },
    { ...policy, name: 'c', subject: { text: 'confined', selects: is('confined') }, egress: [FRIENDS] },
  ];
  const banned = { text: 'banned', selects: is('banned') };
  const ban: Rule = {
    name: 'ban',
    action: 'deny',
    peers: [{ are: [netMatcher([hostCidr(NODE), LINK_LOCAL])], areNot: [] }],
  };
  return [
    {
      name: 'bans',
      order: 0,
      otherwise: 'pass',
      policies: [{ ...policy, name: 'b', subject: banned, egress: [ban] }],
    },
    { name: 't', order: 1, otherwise: 'deny', policies },
  ];
}

type Setting = {
  /** Whether connections are ended. */
  readonly cuts?: boolean;
  readonly blocks?: number;
  /** The number of a pod that nobody knows yet. */
  readonly waiting?: number;
  /** What the node holds besides. */
  readonly besides?: readonly Item[];
};

type Named = Disposable & { readonly name: string };

/**
 * A node that enforces policies: pods with the label `isolated` receive only what those with `friend` send,
 * those with `confined` send only to these, and those with `banned` nothing to the node.
 */
export class PolicedNode<Node extends Named = RoutedNode> implements Disposable {
  readonly node: Node;
  readonly logged: object[] = [];
  /** What the kernel is said to have refused. */
  refused: Report['undone'] = [];
  readonly #running: Running;
  readonly cut: Cut;
  readonly #memory = new Memory();
  readonly #stop = new AbortController();

  /** `node`: by default one with routed pods. */
  constructor(t: TestContext, node?: Node) {
    this.node = node ?? (new RoutedNode() as Named as Node);
    const netns = netnsPath(this.node.name);
    const onReport = ({ full, done }: Report): void => {
      if (full) this.cut.repaired(done);
    };
    this.#running = new Running({ path: netns }, { onReport });
    const log = { ...SILENT, info: (fields: object) => this.logged.push(fields) };
    const { reconciler } = this.#running;
    const applied = async () => ({ undone: [...(await reconciler.run()).undone, ...this.refused] });
    this.cut = new Cut({ applied, log, signal: this.#stop.signal, netns });
    t.after(() => this[Symbol.dispose]());
  }

  /** Labels by the pods' numbers; the others have none. */
  async become(
    labels: Readonly<Record<number, string>>,
    { cuts = true, blocks = 0, waiting, besides = [] }: Setting = {},
  ): Promise<Compiled> {
    const pods = PODS.map((ip, i) =>
      podOf(`p${i}`, [ip, PODS6[i] ?? ip, linkLocalOf(macOf(ip))], labels[i] ?? ''),
    );
    const compiled = compilePolicies(
      {
        entities: pods,
        names: new Map(),
        tiers: tiersOf(blocks),
        subjects: pods.filter((_, i) => i !== waiting).map((pod) => ({ pod, nets: [] })),
        subnets: [],
        families: [4, 6],
        devices: 'fltp',
        bridge: 'cni0',
      },
      this.#memory,
    );
    const { tables, directory, pods: own } = compiled;
    const items = [...own.values()].flatMap((each) => each.items);
    this.#running.want([...besides, ...tables, endedTable(4), endedTable(6), ...directory, ...items]);
    if (cuts) this.cut.update(compiled.verdicts);
    await this.#running.settled(20_000);
    return compiled;
  }

  /** The tracked connections of a pod. */
  async connections(ip: Ip): Promise<readonly Forwarded[]> {
    using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns: netnsPath(this.node.name) });
    return socket.dump(forwardedDump(familyOf(ip), undefined, new Set([ip]), () => true));
  }

  /** Leaves no room to remember connections over IPv4 that have ended. */
  async fillEnded(of: Ended): Promise<void> {
    using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns: netnsPath(this.node.name) });
    const set = of === 'pairs' ? pairSet(4) : endedSet(of, 4);
    const destination = parseIp('203.0.113.1');
    for (let first = 0; first < MOST_REMEMBERED; first += 1024) {
      const elements = Array.from({ length: 1024 }, (_, i) => {
        const source = ipFromBigInt(4, ipToBigInt(parseIp('203.1.0.0')) + BigInt(first + i));
        return endedElement(of, { source, destination, flow: { family: 4, protocol: TCP, port: 80 } });
      });
      await commit(socket, elementAdd(endedTableOf(4), set, elements));
    }
  }

  [Symbol.dispose](): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    this.#running[Symbol.dispose]();
    this.node[Symbol.dispose]();
  }
}

function podOf(name: string, addresses: readonly Ip[], labels: string): PodEntity {
  return {
    kind: 'pod',
    namespace: 'default',
    name,
    labels: Object.fromEntries(labels.split(' ').map((each) => [each, ''])),
    namespaceLabels: {},
    serviceAccount: 'default',
    serviceAccountLabels: {},
    ports: [],
    addresses,
  };
}
