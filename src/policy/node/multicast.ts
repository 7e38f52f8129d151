import type { LocalPod } from '../../cluster/node.ts';
import { FAMILIES, type Family, familyOf } from '../../ip/address.ts';
import { elementItem, elementOf, type NftElementItem } from '../../state/kinds/nft-element.ts';
import type { NftTableItem, SetValue, TableId } from '../../state/kinds/nft-table.ts';
import type { Decisions } from '../compile/decisions.ts';
import type { Effect } from '../compile/effects.ts';
import type { Subject } from '../compile/facts.ts';
import type { PodClass } from '../compile/pod-class.ts';
import { NEIGHBOURS } from '../compile/table.ts';
import { identityAt, type Verdicts } from '../compile/verdicts.ts';

const TABLE = { family: 'bridge', table: 'flatnet-multicast' } as const satisfies TableId;

/** The bridge's ports whose pods receive nothing from others that is for many. */
const CLOSED = { name: 'closed', key: ['ifname'] } as const satisfies SetValue;

/**
 * Keeps from pods what others on their bridge send to many. For each port the bridge makes a copy, whose
 * destination is no pod, and whose port the tables of IP do not see: so these judge only its sender.
 */
export const multicastTable: NftTableItem = {
  kind: 'nft-table',
  ...TABLE,
  sets: [CLOSED],
  chains: [
    {
      name: 'forward',
      hook: { type: 'filter', hook: 'forward', priority: 'filter' },
      rules: [
        { rule: 'oifname != @closed accept' },
        { rule: 'ip daddr { 224.0.0.0/4, 255.255.255.255 } drop' },
        { rule: 'ip6 daddr ff00::/8 goto many' },
      ],
    },
    { name: 'many', rules: [...NEIGHBOURS, { rule: 'drop' }] },
  ],
};

/** Keeps from a pod what is for many. */
export function closedPort({ hostDevice }: LocalPod): readonly NftElementItem[] {
  return hostDevice === undefined ? [] : [elementItem(TABLE, elementOf(CLOSED, [hostDevice]))];
}

/** Those of the bridge's pods to which some other of them may not send everything. */
export function closedPods(
  bridged: ReadonlyMap<LocalPod, Subject>,
  ingress: Verdicts,
): ReadonlySet<LocalPod> {
  // Who they are with further addresses is not worth finding out.
  const isAnyone = [...bridged.values()].some(({ nets }) => nets.length > 0);
  const senders = sendersOf(bridged, ingress);
  const denied = new Map<PodClass, readonly Sender[]>();
  const deniedTo = (to: PodClass): readonly Sender[] => {
    const found =
      denied.get(to) ?? senders.filter(({ family, effect }) => deniesAny(to.decisions(family, effect)));
    denied.set(to, found);
    return found;
  };
  const isClosed = ([local, { pod }]: readonly [LocalPod, Subject]): boolean =>
    pod.addresses.some((ip) => {
      const own = ingress.pods.get(ip);
      return own && (isAnyone || deniedTo(own).some(({ only }) => only !== local));
    });
  return new Set([...bridged].filter(isClosed).map(([local]) => local));
}

/** Pods that are the same to the rules. `only`: the one, if there is no other. */
type Sender = { readonly family: Family; readonly effect: Effect; readonly only: LocalPod | undefined };

function sendersOf(bridged: ReadonlyMap<LocalPod, Subject>, { identified }: Verdicts): readonly Sender[] {
  const all = [...bridged].flatMap(([only, { pod }]) =>
    pod.addresses.map((ip) => ({ only, family: familyOf(ip), effect: identityAt(identified, ip) })),
  );
  return FAMILIES.flatMap((family) => {
    const byEffect = Map.groupBy(
      all.filter((each) => each.family === family),
      ({ effect }) => effect,
    );
    return [...byEffect].map(([effect, pods]) => {
      const different = new Set(pods.map(({ only }) => only));
      return { family, effect, only: different.size > 1 ? undefined : pods[0]?.only };
    });
  });
}

const DENY = new WeakMap<Decisions, boolean>();

function deniesAny(decisions: Decisions): boolean {
  const known = DENY.get(decisions);
  if (known !== undefined) return known;
  const all = [decisions.others, ...[...decisions.byProtocol.values()].flat().map(({ value }) => value)];
  const found = all.some(({ verdict }) => verdict === 'deny');
  DENY.set(decisions, found);
  return found;
}
