import type { Network } from '../../cluster/network.ts';
import { FAMILIES, type Family } from '../../ip/address.ts';
import { addressOf } from '../../ip/cidr.ts';
import {
  MAX_NODES,
  nodeAddresses,
  spineAddress,
  torAddress,
  UNDERLAY,
  underlaySubnet,
} from '../machine/underlay-plan.ts';
import type { LabNode } from '../record/topology.ts';
import { rackAs, torAs } from './plan.ts';

/** The inputs for a top-of-rack router's configuration. */
export type Rack = {
  /** Its underlay subnet. */
  readonly rack: number;
  /** Number of racks. */
  readonly racks: number;
  readonly nodes: readonly LabNode[];
  readonly families: readonly Family[];
};

/** The pods' address families. */
export function familiesOf(network: Network): Family[] {
  return FAMILIES.filter((family) => network.pools[family] !== undefined);
}

/** The racks of the other routers, which are all BGP peers over the spine. */
function others({ rack, racks }: Rack): number[] {
  return Array.from({ length: racks }, (_, other) => other).filter((other) => other !== rack);
}

/**
 * BIRD's configuration for the router of a rack: eBGP with its nodes and the other routers. Routers also
 * announce the racks' networks to each other; nodes reach those through the lab's router.
 */
export function torBird(own: Rack, logFile: string): string {
  const { rack, nodes, families } = own;
  const sessions = families.flatMap((family) => [
    ...nodes
      .filter(({ subnet }) => subnet === rack)
      .map((node) => {
        const address = addressOf(nodeAddresses(node.index, node.subnet)[family]);
        return birdSession(`node${node.index}_ipv${family}`, family, {
          local: `local ${torAddress(rack, family)} as ${torAs(rack)}; passive`,
          neighbor: `${address} as ${rackAs(rack)}`,
          exported: `source = RTS_BGP && !(net ~ [${underlay(family)}+])`,
        });
      }),
    ...others(own).map((other) =>
      birdSession(`tor${other}_ipv${family}`, family, {
        local: `local ${spineAddress(rack, family)} as ${torAs(rack)}`,
        neighbor: `${spineAddress(other, family)} as ${torAs(other)}`,
        exported: 'true',
      }),
    ),
  ]);
  const kernels = families.map(
    (family) => `protocol kernel Kernel${family} { ipv${family} { export where source = RTS_BGP; }; }\n`,
  );
  return `log "${logFile}" all;
router id ${torAddress(rack, 4)};
protocol device { }
protocol direct { interface "eth0"; ${families.map((family) => `ipv${family};`).join(' ')} }
${kernels.join('')}${sessions.join('')}`;
}

function underlay(family: Family): string {
  return UNDERLAY[family === 4 ? 0 : 1] ?? '';
}

function birdSession(
  name: string,
  family: Family,
  {
    local,
    neighbor,
    exported,
  }: { readonly local: string; readonly neighbor: string; readonly exported: string },
): string {
  return `protocol bgp ${name} {
  ${local};
  neighbor ${neighbor};
  connect delay time 1;
  connect retry time 2;
  error wait time 1, 2;
  ipv${family} { import all; export where ${exported}; next hop self; };
}
`;
}

/** The same for FRR's bgpd, which accepts any node of its rack without listing it. */
export function torFrr(own: Rack): string {
  const { rack, families } = own;
  const as = torAs(rack);
  const global = families.flatMap((family) => [
    `neighbor NODES${family} peer-group`,
    `neighbor NODES${family} remote-as ${rackAs(rack)}`,
    `neighbor NODES${family} passive`,
    // By default FRR delays announcements to another AS by up to half a minute (RFC 4271 section 9.2.1.1).
    `neighbor NODES${family} advertisement-interval 0`,
    `bgp listen range ${underlaySubnet(rack, family)} peer-group NODES${family}`,
    ...others(own).flatMap((other) => [
      `neighbor ${spineAddress(other, family)} remote-as ${torAs(other)}`,
      `neighbor ${spineAddress(other, family)} timers connect 2`,
      `neighbor ${spineAddress(other, family)} advertisement-interval 0`,
    ]),
  ]);
  const channels = families.flatMap((family) => [
    `address-family ipv${family} unicast`,
    ` network ${underlaySubnet(rack, family)}`,
    ` neighbor NODES${family} activate`,
    ` neighbor NODES${family} prefix-list PODS${family} out`,
    ...others(own).map((other) => ` neighbor ${spineAddress(other, family)} activate`),
    'exit-address-family',
  ]);
  const lists = families.flatMap((family) => {
    const list = `${family === 4 ? 'ip' : 'ipv6'} prefix-list PODS${family}`;
    return [
      `${list} deny ${underlay(family)} le ${family === 4 ? 32 : 128}`,
      `${list} permit ${family === 4 ? '0.0.0.0/0 le 32' : '::/0 le 128'}`,
    ];
  });
  const router = [
    `bgp router-id ${torAddress(rack, 4)}`,
    'no bgp ebgp-requires-policy',
    'no bgp default ipv4-unicast',
    // The default is a hundred; each node connects once per family.
    `bgp listen limit ${MAX_NODES * families.length}`,
    ...global,
    ...channels,
  ];
  return `${lists.join('\n')}\nrouter bgp ${as}\n${router.map((line) => ` ${line}\n`).join('')}`;
}
