import type { Case } from './tables.ts';

/** Parts of rules, and what each of them allows. */
export type Product = {
  readonly pods: readonly Selected[];
  readonly namespaces: readonly Selected[];
  readonly nets: readonly { readonly block: object; readonly allows: string }[];
  readonly ports: readonly {
    readonly ports?: readonly object[];
    readonly allows: string;
    /** Only pods have named ports. */
    readonly onlyPods?: boolean;
  }[];
};
type Selected = { readonly selector?: object; readonly allows: string };

type Peer = { readonly text: string; readonly peers?: readonly object[]; readonly ends: string };

/** Every peer with every kind of ports at least once, in both directions, for pod a in x. */
export function expand({ pods, namespaces, nets, ports }: Product): readonly Case[] {
  const peers: Peer[] = [
    { text: 'anyone', ends: '*' },
    ...pods.flatMap((pod) =>
      namespaces
        .filter(({ selector }) => selector ?? pod.selector)
        .map((namespace) => ({
          text: `pods ${textOf(pod)} in ${textOf(namespace)}`,
          peers: [
            {
              ...(namespace.selector && { namespaceSelector: namespace.selector }),
              ...(pod.selector && { podSelector: pod.selector }),
            },
          ],
          ends: namespace.allows
            .split(',')
            .flatMap((ns) => pod.allows.split(',').map((name) => `${ns}/${name}`))
            .join(),
        })),
    ),
    ...nets.map(({ block, allows }) => ({
      text: JSON.stringify(block),
      peers: [{ ipBlock: block }],
      ends: allows,
    })),
  ];
  const pairs = peers.flatMap((peer, i) =>
    ports
      // All of these with the first peers, and a few with each of the others.
      .filter((_, j) => i === 0 || j === 0 || (i + j) % 5 === 0)
      .map((each) => ({ peer, ports: each })),
  );
  return (['ingress', 'egress'] as const).flatMap((direction) =>
    pairs.map((pair): Case => caseOf(direction, pair.peer, pair.ports)),
  );
}

function caseOf(direction: 'ingress' | 'egress', peer: Peer, of: Product['ports'][number]): Case {
  const isIngress = direction === 'ingress';
  const rule = {
    ...(peer.peers && { [isIngress ? 'from' : 'to']: peer.peers }),
    ...(of.ports && { ports: of.ports }),
  };
  const allow = (ends: string): string =>
    `allow ${isIngress ? `${ends} to x/a` : `x/a to ${ends}`} on ${of.allows}`;
  const lines = [isIngress ? 'deny * to x/a' : 'deny x/a to *', allow(peer.ends)];
  // The name of a port is one of the destination's.
  const unnamed = of.onlyPods && !isIngress ? ['deny x/a to outside'] : [];
  return {
    name: `${direction}, ${peer.text}, ports ${JSON.stringify(of.ports ?? 'any')}`,
    policies: [
      {
        name: 'p',
        namespace: 'x',
        spec: {
          podSelector: { matchLabels: { pod: 'a' } },
          policyTypes: [isIngress ? 'Ingress' : 'Egress'],
          [direction]: [rule],
        },
      },
    ],
    expect: [...lines, ...unnamed],
  };
}

function textOf({ selector }: Selected): string {
  return selector ? JSON.stringify(selector) : 'any';
}
