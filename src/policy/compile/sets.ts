import type { Family } from '../../ip/address.ts';
import type { SetValue } from '../../linux/nftables/values/table.ts';
import type { Direction } from '../model/policy.ts';

type Address = 'ipv4_addr' | 'ipv6_addr';
type Addresses = SetValue<readonly [Address], undefined>;
type Numbers = SetValue<readonly [Address], 'verdict'>;

const type = (family: Family): Address => (family === 4 ? 'ipv4_addr' : 'ipv6_addr');

/** The addresses of this node's pods whose policies are in force. */
export const known = (family: Family): Addresses => ({ name: 'pods', key: [type(family)] });

/** Those of its pods about which nobody knows yet which policies are. */
export const waiting = (family: Family): Addresses => ({ name: 'waiting', key: [type(family)] });

/** The networks that such pods may send from besides. */
export const knownNets = (family: Family): Addresses => ({
  name: 'pod-nets',
  key: [type(family)],
  interval: true,
});

/** The networks from which this node's pods on the bridge have their addresses. */
export const subnets = (family: Family): Addresses => ({
  name: 'subnets',
  key: [type(family)],
  interval: true,
});

/** A pod's address twice. */
export const itself = (family: Family): SetValue<readonly [Address, Address], undefined> => ({
  name: 'itself',
  key: [type(family), type(family)],
});

/** This node's pods that policies are about. */
export const subjects = (direction: Direction, family: Family): Addresses => ({
  name: `${direction}-pods`,
  key: [type(family)],
});

/** Those that may have no connections but those that policies allow. */
export const isolated = (direction: Direction, family: Family): Addresses => ({
  name: `${direction}-isolated`,
  key: [type(family)],
  counts: true,
});

/** Who an address is: leads to the chain of its identity. */
export const peers = (direction: Direction, family: Family): Numbers => ({
  name: `${direction}-peers`,
  key: [type(family)],
  data: 'verdict',
});

/** Who the addresses of a network are, where nothing else is known of them. */
export const peerNets = (direction: Direction, family: Family): Numbers => ({
  name: `${direction}-nets`,
  key: [type(family)],
  data: 'verdict',
  interval: true,
});

/** What the connections are that an outcome is for, the most special first. */
export const SCOPES = ['ports', 'ranges', 'messages', 'protocols', 'all'] as const;
export type Scope = (typeof SCOPES)[number];

/** The fields of a packet by which a connection is looked up, after the pod's address. */
const KEYS = {
  ports: ['inet_proto', 'inet_service'],
  ranges: ['inet_proto', 'inet_service'],
  messages: ['inet_proto', 'icmp_kind'],
  protocols: ['inet_proto'],
  all: [],
} as const;

/** The fields by which connections of a scope are looked up. */
export function scopeKey(scope: Scope, family: Family): SetValue['key'] {
  return [type(family), ...KEYS[scope]];
}

/** Single ports are found by a hash. Ranges are not, and cost more to change: they have sets of their own. */
export function isInterval(scope: Scope): boolean {
  return scope === 'ranges' || scope === 'messages';
}

/** The scopes that any of the elements needs, besides those that every table has. */
export function scopesOf(elements: readonly { readonly set: string }[]): readonly Scope[] {
  return SCOPES.filter(
    (scope) => !isInterval(scope) || elements.some(({ set }) => set.endsWith(`-${scope}`)),
  );
}

/** One identity's connections with pods of this node, by the pod's address. */
export type Lane = { readonly direction: Direction; readonly peer: number };

/**
 * What becomes of a connection: `isolate` denies what no rule allows, but nothing at the pod's own node, and
 * is asked for in egress alone.
 */
export type Verdict = 'allow' | 'deny' | 'isolate';

/** The same, and whether it is also written down. */
export type Fate = Verdict | `${Verdict}-logged`;

/** The connections of a lane with one fate. */
export function connections({ direction, peer }: Lane, fate: Fate, scope: Scope, family: Family): SetValue {
  return {
    name: `${direction}-${peer}-${fate}-${scope}`,
    key: scopeKey(scope, family),
    ...(isInterval(scope) && { interval: true }),
    counts: true,
  };
}
