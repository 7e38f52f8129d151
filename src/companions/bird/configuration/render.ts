import { FAMILIES, type Family, familyOf } from '../../../ip/address.ts';
import type { BgpFacts } from './facts.ts';
import {
  announceFunction,
  type Direction,
  filterFunction,
  filterFunctionName,
  interfacePattern,
  KERNEL_EXPORT,
  kernelImport,
  tunnelFunction,
} from './filters.ts';
import { routerId, routerIdWarning } from './router-id.ts';
import type { Session } from './session.ts';
import { sessionsOf } from './sessions.ts';
import { underlayFunction, underlayTable } from './underlay.ts';

export type BirdConfig = {
  /** The contents of bird.conf. Contains passwords. */
  readonly text: string;
  readonly sessions: readonly Session[];
  readonly warnings: readonly string[];
};

/** Size at which BIRD rotates its log, in bytes. It keeps one older file. */
const LOG_BYTES = 1_000_000;

/**
 * Renders the configuration of this node's BIRD (≥ 2.0.12), one daemon for both families. It names peers and
 * pools, never blocks: BIRD learns those from the kernel. The result does not depend on the order of the
 * facts. `logFile`: a path without quotes.
 */
export function birdConfig(facts: BgpFacts, logFile: string): BirdConfig {
  const { sessions, warnings } = sessionsOf(facts);
  const { resources, self, gateways = [] } = facts;
  const onLink = self.underlay.onLink.toSorted();
  const { bgpConfiguration } = resources;
  const pools = facts.pools.toSorted((a, b) => (a.cidr < b.cidr ? -1 : 1));
  // Without such a peer, a new node must not change the filters of the others.
  const outside = sessions.some(({ node }) => node === undefined);
  const used = new Set(sessions.flatMap(({ filters }) => filters));
  const filters = resources.bgpFilters
    .filter(({ name }) => used.has(name))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const parts = [
    head(routerId(self.node), logFile),
    ...FAMILIES.map((family) => underlayTable(family, gateways)),
    ...FAMILIES.map((family) => kernelImport(family, pools)),
    KERNEL_EXPORT,
    tunnelFunction(self.companion?.onlyReceives ? [] : pools, onLink),
    ...FAMILIES.map((family) =>
      underlayFunction(family, { nodes: outside ? [self.node, ...facts.nodes] : [], onLink }),
    ),
    ...FAMILIES.map((family) =>
      announceFunction(family, { pools, prefixAdvertisements: bgpConfiguration.prefixAdvertisements }),
    ),
    ...filters.flatMap((filter) =>
      FAMILIES.flatMap((family) => [
        filterFunction(filter, 'import', family),
        filterFunction(filter, 'export', family),
      ]),
    ),
    interfaces(bgpConfiguration.ignoredInterfaces),
    ...FAMILIES.map((family) => kernelProtocol(family)),
    ...FAMILIES.map((family) =>
      services(
        family,
        bgpConfiguration.serviceCidrs.filter((cidr) => familyOf(cidr) === family),
      ),
    ),
    sessions.some(({ bfd }) => bfd) ? BFD : '',
    ...sessions.map(protocol),
  ];
  const idWarning = routerIdWarning(self.node, facts.nodes);
  return {
    text: parts.filter(Boolean).join('\n'),
    sessions,
    warnings: [
      ...warnings,
      ...(idWarning ? [idWarning] : []),
      ...bgpConfiguration.ignoredInterfaces
        .filter((pattern) => interfacePattern(pattern) === undefined)
        .map((pattern) => `ignoredInterfaces: ${JSON.stringify(pattern)} is not an interface pattern`),
    ],
  };
}

/**
 * `graceful restart wait`: how long a restarted BIRD waits for all its peers before it touches the kernel's
 * routes. With the default of 240 s, one dead peer would hold back all new routes for four minutes.
 */
function head(id: string, logFile: string): string {
  return `log "${logFile}" ${LOG_BYTES} "${logFile}.1" { info, remote, warning, error, auth, fatal, bug };
timeformat protocol iso long;
timeformat route iso long;
router id ${id};
graceful restart wait 25;
`;
}

/**
 * Direct routes are the underlay's networks; there is no router behind a pod's device or the tunnel. BIRD may
 * sleep for up to 3 s on pending updates until one of its timers wakes it; the scan timer is the shortest. A
 * running agent wakes BIRD more often.
 */
function interfaces(ignored: readonly string[]): string {
  const except = ['cali*', 'tunl0', 'kube-ipvs*', ...ignored].map(interfacePattern).filter(Boolean);
  return `protocol device Device {
  scan time 1;
}

protocol direct Direct {
  ipv4;
  ipv6;
  interface ${[...except.map((pattern) => `-${pattern}`), '"*"'].join(', ')};
}
`;
}

/** `persist`, `graceful restart`: routes stay when BIRD exits and are taken over when it returns. */
function kernelProtocol(family: Family): string {
  return `protocol kernel Kernel${family} {
  ipv${family} {
    import filter From_kernel${family};
    export filter To_kernel;
  };
  learn;
  persist;
  graceful restart;
  merge paths on;
  scan time 10;
}
`;
}

/** Static routes that are only announced; the kernel never sees them. */
function services(family: Family, cidrs: readonly string[]): string {
  if (cidrs.length === 0) return '';
  const routes = [...new Set(cidrs)].toSorted().map((cidr) => `  route ${cidr} blackhole;\n`);
  return `protocol static Services${family} {\n  ipv${family};\n${routes.join('')}}\n`;
}

/** Three times 200 ms: a dead peer is detected within 0.6 s. */
const BFD = `protocol bfd Bfd {
  interface "*" { interval 200 ms; multiplier 3; };
  multihop { interval 200 ms; multiplier 3; };
}
`;

/**
 * Seconds between keepalives of the end that dials. A node that has lost power says no farewell and does not
 * dial itself: it waits until the other end speaks on the former connection, and is refused.
 */
const NOTICE = 5;

function protocol(session: Session): string {
  const { local, remote, family } = session;
  const outside = session.node === undefined;
  const hops = session.ttlSecurity === undefined ? 'multihop' : `multihop ${session.ttlSecurity}`;
  const keepalive = session.keepalive;
  const options = [
    `local ${local.address === undefined ? '' : `${local.address} `}port ${local.port} as ${local.as}`,
    `neighbor ${remote.address} port ${remote.port} as ${remote.as}`,
    session.direct ? 'direct' : hops,
    session.ttlSecurity !== undefined && 'ttl security on',
    session.passive && 'passive on',
    session.clusterId && `rr client; rr cluster id ${session.clusterId}`,
    'graceful restart on',
    session.restartTime !== undefined && `graceful restart time ${session.restartTime}`,
    keepalive === undefined
      ? `hold time 90${session.node !== undefined && !session.passive ? `; keepalive time ${NOTICE}` : ''}`
      : `hold time ${Math.max(3, 3 * keepalive)}; keepalive time ${keepalive}`,
    'connect delay time 1; connect retry time 2; error wait time 2,10',
    session.allowedLocalAs !== undefined && `allow local as ${session.allowedLocalAs}`,
    session.bfd && 'bfd on',
    session.password !== undefined && `password "${session.password}"`,
  ].filter((option) => typeof option === 'string');
  const chain = (direction: Direction): string =>
    session.filters.map((name) => `${filterFunctionName(name, direction, family)}(); `).join('');
  const tunnel = family === 4 ? `Tunnel4(${outside}); ` : '';
  const guard = outside ? `if Is_underlay${family}() then reject; ` : '';
  const internal = local.as === remote.as;
  return `protocol bgp ${session.name} {
${options.map((option) => `  ${option};\n`).join('')}  ipv${family} {
    import filter { ${tunnel}${chain('import')}${guard}accept; };
    export filter { ${chain('export')}Announce${family}(${outside}); };
    next hop ${session.nextHop};
${session.direct ? '' : `    gateway recursive;\n    igp table Underlay${family};\n`}${internal ? '    add paths on;\n' : ''}  };
}
`;
}
