import type { ShownRoute } from '../../companions/bird/status/status.ts';
import { ipCompare } from '../../ip/address.ts';
import { addressOf, lengthOf, parseCidr } from '../../ip/cidr.ts';
import { type AgentSocketOptions, agentSocketOptions, askSelected } from '../shared/agent-socket.ts';
import { newCommand } from '../shared/commands.ts';
import { print, table } from '../shared/output.ts';

export const command = agentSocketOptions(
  newCommand(
    'Show the routes a node’s BIRD knows; * marks those it uses, ! those it would use if another route were not in the way.',
    ['flatnet bgp routes', 'flatnet bgp routes --peer node2', 'flatnet bgp routes --peer 10.0.0.2 --json'],
  ),
)
  .option('--peer <peer>', 'only routes from this peer: its address, or a node’s name')
  .action(async (options: AgentSocketOptions & { readonly peer?: string }) => {
    const { routes } = await askSelected(options, {
      op: 'bgp-routes',
      ...(options.peer !== undefined && { peer: options.peer }),
    });
    print(routes, options.json, routesText);
  });

export function routesText(routes: readonly ShownRoute[]): string {
  const rows = routes
    .toSorted(byNetwork)
    .map((route) => [
      route.refused || route.obstacle !== undefined ? '!' : route.best ? '*' : '',
      route.net,
      nextHopText(route),
      route.protocol,
      route.attributes['BGP.as_path'] ?? '',
      route.since,
    ]);
  return table(['', 'NETWORK', 'NEXT HOP', 'FROM', 'AS PATH', 'SINCE'], rows) || 'no routes';
}

/** Sorted like a routing table; routes to one network stay in BIRD's order, the best first. */
function byNetwork({ net: a }: ShownRoute, { net: b }: ShownRoute): number {
  const [left, right] = [parseCidr(a), parseCidr(b)];
  return ipCompare(addressOf(left), addressOf(right)) || lengthOf(left) - lengthOf(right);
}

function nextHopText({ type, nextHops, obstacle }: ShownRoute): string {
  const hops = nextHops.map(({ via, dev, onLink }) =>
    [via && `via ${via}`, `dev ${dev}`, onLink && 'onlink'].filter(Boolean).join(' '),
  );
  const text = hops.join(', ') || type;
  return obstacle === undefined ? text : `${text} (the kernel uses: ${obstacle})`;
}
