import type { Cidr } from '../../../ip/cidr.ts';
import type { Reply } from '../daemon/reply.ts';

/** A route in BIRD's tables, as in `show route all`. */
export type BgpRoute = {
  readonly net: Cidr;
  /** `unicast`, `blackhole`, `unreachable`. */
  readonly type: string;
  /** BIRD's protocol that the route came from: a session's name, `Kernel4`, `Direct`. */
  readonly protocol: string;
  readonly since: string;
  /** Whether it is the selected route to its network. */
  readonly best: boolean;
  /** Whether it is selected, but the kernel holds another program's route in its place. */
  readonly refused: boolean;
  readonly preference: number;
  readonly nextHops: readonly NextHop[];
  /** `BGP.as_path`, `BGP.next_hop`, `Kernel.source`, …, as BIRD writes them. */
  readonly attributes: Readonly<Record<string, string>>;
};

export type NextHop = { readonly via?: string; readonly dev: string; readonly onLink: boolean };

const FIRST = /^(\S*)\s+(\S+) \[(\S+) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[^\]]*\]( [*!])? \((\d+)(?:\/[^)]*)?\)/;
const HOP = /^\t(?:via (\S+) on|dev) (\S+)(.*)$/;
const ATTRIBUTE = /^\t([A-Za-z]+\.[A-Za-z0-9_]+): ?(.*)$/;

/**
 * Reads the answer to `show route all`, with `timeformat route iso long`. Further routes to the same network
 * omit the network.
 */
export function readRoutes(reply: Reply): BgpRoute[] {
  const routes: Building[] = [];
  for (const { text } of reply.lines) {
    const first = FIRST.exec(text);
    if (first) {
      const [, net = '', type = '', protocol = '', since = '', best, preference] = first;
      routes.push({
        net: (net || (routes.at(-1)?.net ?? '')) as Cidr,
        type,
        protocol,
        since,
        best: best !== undefined,
        refused: best === ' !',
        preference: Number(preference),
        nextHops: [],
        attributes: {},
      });
      continue;
    }
    const route = routes.at(-1);
    if (!route) continue;
    const hop = HOP.exec(text);
    const attribute = ATTRIBUTE.exec(text);
    if (hop) {
      const [, via, dev = '', flags = ''] = hop;
      route.nextHops.push({ ...(via !== undefined && { via }), dev, onLink: flags.includes(' onlink') });
    } else if (attribute) route.attributes[attribute[1] ?? ''] = attribute[2] ?? '';
  }
  return routes;
}

type Building = BgpRoute & { readonly nextHops: NextHop[]; readonly attributes: Record<string, string> };
