import type { Ip } from '../../ip/address.ts';
import { type Cidr, contains } from '../../ip/cidr.ts';
import { excerpt } from '../../problem.ts';
import type { PolicyFacts } from '../compile/facts.ts';
import { becauseOf } from '../explain/because.ts';
import type { Entity, NetworkSetEntity, PodEntity } from '../model/entity.ts';
import { evaluate, type Reason, selecting } from '../model/evaluate.ts';
import type { Known } from '../model/matcher.ts';
import { DIRECTIONS, type Direction, policyText, type Tier } from '../model/policy.ts';
import { protocolText } from '../model/traffic.ts';
import type { Seen } from './tally.ts';

/** A flow that has been denied, or that a rule wants written down, by names. */
export type LoggedFlow = {
  readonly verdict: 'denied' | 'allowed';
  /** As the pod sees it whose policies decided. Absent: none were asked. */
  readonly direction?: Direction;
  readonly from: FlowEnd;
  readonly to: FlowEnd;
  /** `TCP`, or its number. */
  readonly protocol: string;
  /** Of the destination. */
  readonly port?: number;
  readonly icmp?: { readonly type: number; readonly code: number };
  readonly because: string;
  /** The rules that want it written down. */
  readonly loggedBy?: readonly string[];
  /** The packets that the kernel told of, since the last report on this flow. */
  readonly packets: number;
};

export type FlowEnd = {
  readonly ip: Ip;
  /** `default/web`. */
  readonly pod?: string;
  readonly node?: string;
};

/** Who is who, and what the policies say, on one node. */
export type Scene = {
  readonly cluster: Pick<PolicyFacts, 'tiers' | 'entities' | 'names'>;
  /** This node's pods. */
  readonly subjects: readonly PodEntity[];
  /** Its pods whose policies nobody knows yet, by address. */
  readonly waiting: ReadonlyMap<Ip, string>;
  /** The name of a network device. */
  readonly deviceName: (index: number) => string | undefined;
};

/** Whether any rule in force wants connections written down. */
export function haveLogRules(tiers: readonly Tier[]): boolean {
  return tiers.some(({ policies }) =>
    policies.some(
      (policy) =>
        !policy.staged &&
        DIRECTIONS.some((direction) => policy[direction]?.some(({ action }) => action === 'log')),
    ),
  );
}

/** Which policies are about a pod, remembered as long as neither changes: floods have the same few ends. */
export class Concerns {
  readonly #known = new WeakMap<
    readonly Tier[],
    WeakMap<PodEntity, Partial<Record<Direction, readonly Tier[]>>>
  >();

  /** The tiers without policies that leave the pod alone in this direction. */
  of(pod: PodEntity, direction: Direction, tiers: readonly Tier[]): readonly Tier[] {
    const pods = this.#known.get(tiers) ?? new WeakMap();
    this.#known.set(tiers, pods);
    const own: Partial<Record<Direction, readonly Tier[]>> = pods.get(pod) ?? {};
    pods.set(pod, own);
    own[direction] ??= tiers
      .map((tier) => ({ ...tier, policies: selecting(tier, direction, pod) }))
      .filter(({ policies }) => policies.length > 0);
    return own[direction];
  }
}

/**
 * Says what flows were, and why they were denied, from the policies as they are now; one at a time, as that
 * may take milliseconds.
 */
export function* logged(
  seen: Iterable<Seen>,
  scene: Scene,
  concerns = new Concerns(),
): Generator<LoggedFlow, void> {
  const directory = new Directory(scene.cluster);
  for (const each of seen) yield oneLogged(each, scene, { directory, concerns });
}

type Lookups = { readonly directory: Directory; readonly concerns: Concerns };

function oneLogged(seen: Seen, scene: Scene, lookups: Lookups): LoggedFlow {
  const { source, destination, flow } = seen.heading;
  const end = (ip: Ip): FlowEnd => {
    const pod = scene.waiting.get(ip);
    return pod === undefined ? lookups.directory.endOf(ip) : { ip, pod: excerpt(pod, LONGEST_NAME) };
  };
  return {
    ...reasonOf(seen, scene, lookups),
    from: end(source),
    to: end(destination),
    protocol: protocolText(flow.protocol),
    ...(flow.port !== undefined && { port: flow.port }),
    ...(flow.icmp && { icmp: flow.icmp }),
    packets: seen.packets,
  };
}

type Reasoned = Pick<LoggedFlow, 'verdict' | 'direction' | 'because' | 'loggedBy'>;

function reasonOf({ what, heading, device }: Seen, scene: Scene, { directory, concerns }: Lookups): Reasoned {
  const { source, destination, flow } = heading;
  if (what === 'unknown source' || what === 'unknown destination') {
    const ip = what === 'unknown source' ? source : destination;
    const name = device !== undefined && scene.deviceName(device);
    const by = what === 'unknown source' && name ? ` (it came by ${name})` : '';
    const because = scene.waiting.has(ip)
      ? 'nobody knows yet which policies are about the pod'
      : `its ${what.slice('unknown '.length)} is no pod of this node whose policies are in force${by}`;
    return { verdict: 'denied', because };
  }
  const direction = what.startsWith('ingress') ? 'ingress' : 'egress';
  const verdict = what.endsWith('denied') ? 'denied' : 'allowed';
  const [own, peer] = direction === 'ingress' ? [destination, source] : [source, destination];
  const pod = scene.subjects.find(({ addresses }) => addresses.includes(own));
  const since = 'by policies that have changed since';
  if (!pod) return { verdict, direction, because: since };
  const known = { own: directory.known(own), peer: directory.known(peer) };
  const tiers = concerns.of(pod, direction, scene.cluster.tiers);
  const found = evaluate(tiers, direction, { pod, ...known, flow });
  const isSame = (found.verdict === 'allow') === (verdict === 'allowed');
  const isAtNode = direction === 'egress' && verdict === 'allowed' && found.reason.kind === 'isolated';
  const logs = found.passed.filter(({ rule }) => rule.action === 'log');
  return {
    verdict,
    direction,
    // Any number of policies may isolate a pod, but none from its own node.
    because: isSame ? excerpt(becauseOf(brief(found.reason), direction), 300) : isAtNode ? TO_NODE : since,
    ...(logs.length > 0 && {
      loggedBy: logs.map(({ policy, rule }) => excerpt(`${policyText(policy)} ${rule.name}`)),
    }),
  };
}

/** More policies than an excerpt has room for. */
const MOST_NAMED = 20;

function brief(reason: Reason): Reason {
  return reason.kind === 'isolated' ? { ...reason, policies: reason.policies.slice(0, MOST_NAMED) } : reason;
}

const TO_NODE = 'nothing but a rule keeps a pod from its own node';

/** A store without an API server may have any text for a name; of a pod, Kubernetes' may be as long. */
const LONGEST_NAME = 320;

/** Whose addresses are, looked up once for many. */
class Directory {
  readonly #byAddress = new Map<Ip, Entity[]>();
  readonly #sets: NetworkSetEntity[] = [];
  readonly #names: PolicyFacts['names'];

  constructor({ entities, names }: Scene['cluster']) {
    this.#names = names;
    for (const entity of entities) {
      if (entity.kind === 'network-set') this.#sets.push(entity);
      else
        for (const ip of entity.addresses)
          this.#byAddress.set(ip, [...(this.#byAddress.get(ip) ?? []), entity]);
    }
  }

  known(ip: Ip): Known {
    const isIn = (net: Cidr): boolean => contains(net, ip);
    const sets = this.#sets.filter(({ nets }) => nets.some(isIn));
    return {
      ip,
      entities: [...(this.#byAddress.get(ip) ?? []), ...sets],
      names: this.#names.get(ip) ?? [],
    };
  }

  endOf(ip: Ip): FlowEnd {
    const own = this.#byAddress.get(ip) ?? [];
    const pod = own.find((entity) => entity.kind === 'pod');
    const node = own.find((entity) => entity.kind === 'node');
    const name = pod && (pod.namespace === '' ? pod.name : `${pod.namespace}/${pod.name}`);
    return {
      ip,
      ...(name !== undefined && { pod: excerpt(name, LONGEST_NAME) }),
      ...(node && { node: excerpt(node.name, LONGEST_NAME) }),
    };
  }
}
