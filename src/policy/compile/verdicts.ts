import { familyOf, type Ip, ipCompare } from '../../ip/address.ts';
import { DIRECTIONS, type Direction } from '../model/policy.ts';
import type { Flow } from '../model/traffic.ts';
import type { Decisions } from './decisions.ts';
import type { Effect } from './effects.ts';
import type { Identified } from './identities.ts';
import type { Outcome } from './outcome.ts';
import type { PodClass } from './pod-class.ts';

/** What is decided about one direction of the connections of this node's pods. */
export type Verdicts = {
  readonly identified: Identified<Effect>;
  /** By the pod's address. Of pods that no policy is about, nothing. */
  readonly pods: ReadonlyMap<Ip, PodClass>;
};

/** A connection's first packet, behind what leads it elsewhere and before what hides its source. */
export type Connection = { readonly source: Ip; readonly destination: Ip; readonly flow: Flow };

/** Whether the tables drop a connection's first packet. `isNode`: whether an address is this node's own. */
export function isDenied(
  verdicts: Readonly<Record<Direction, Verdicts>>,
  { source, destination, flow }: Connection,
  isNode: (ip: Ip) => boolean = () => false,
): boolean {
  if (source === destination || isNode(source)) return false;
  return DIRECTIONS.some((direction) => {
    const [own, peer] = direction === 'ingress' ? [destination, source] : [source, destination];
    const { pods, identified } = verdicts[direction];
    const pod = pods.get(own);
    if (!pod) return false;
    const decisions = pod.decisions(familyOf(own), identityAt(identified, peer));
    const { verdict, reason } = outcomeFor(decisions, flow);
    // Nothing but a rule stands between a pod and its node.
    return verdict === 'deny' && (reason.kind === 'rule' || !isNode(destination));
  });
}

function outcomeFor({ byProtocol, others }: Decisions, { protocol, port, icmp }: Flow): Outcome {
  const number = icmp ? (icmp.type << 8) | icmp.code : (port ?? 0);
  const segments = byProtocol.get(protocol);
  return segments?.find(({ first, last }) => first <= number && number <= last)?.value ?? others;
}

export function identityAt(identified: Identified<Effect>, ip: Ip): Effect {
  return identified.addresses.get(ip) ?? identityAround(identified, ip);
}

/** What an address is if nothing is known but the networks around it. */
export function identityAround({ ranges, stranger }: Identified<Effect>, ip: Ip): Effect {
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const last = ranges[middle]?.range.last;
    if (last !== undefined && ipCompare(last, ip) < 0) low = middle + 1;
    else high = middle;
  }
  const found = ranges[low];
  return found && ipCompare(found.range.first, ip) <= 0 ? found.identity : stranger;
}
