import { codeOf, messageOf } from '../../error.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { list } from '../../kubernetes/api/list.ts';
import { EVENTS } from '../../kubernetes/events/event.ts';
import { newCommand } from '../shared/commands.ts';
import { EXIT, Exit } from '../shared/failure.ts';
import { type Cell, paint, print, table } from '../shared/output.ts';
import { type ClusterObjects, type NodeOverview, overviewOf } from './overview.ts';
import { agentPods, type ClusterOptions, clusterOptions, NODES, withCluster } from './shared.ts';

export const command = clusterOptions(
  newCommand(
    'Show the cluster’s nodes as the API server knows them: what their agents have published, the condition NetworkUnavailable, their pods’ readiness. Exit status 1 if a node is not well. A node’s own answer: kubectl flatnet node NODE.',
    ['kubectl flatnet status', 'kubectl flatnet status --context prod --json'],
  ),
)
  .option('--json', 'print JSON')
  .action(async ({ json, ...options }: ClusterOptions & { json?: boolean }) => {
    const nodes = overviewOf(await withCluster(options, (client) => objectsOf(client, options)));
    print(nodes, json, statusText);
    if (nodes.length === 0 || nodes.some(({ well }) => !well)) throw new Exit(EXIT.failed);
  });

async function objectsOf(client: KubernetesClient, options: ClusterOptions): Promise<ClusterObjects> {
  const [nodes, pods, events] = await Promise.all([
    list(client, NODES, (object) => object),
    ifAllowed('the agents’ pods', agentPods(client, options)),
    ifAllowed(
      'Events of nodes',
      list(client, EVENTS, (object) => object, { namespace: 'default' }),
    ),
  ]);
  return { nodes: nodes.items, pods, events: events?.items ?? [] };
}

/** What we may not see is said, and left out. */
async function ifAllowed<T>(what: string, work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (codeOf(error) !== 'STORE_FORBIDDEN') throw error;
    process.stderr.write(`warning: ${what} are not shown: ${messageOf(error)}\n`);
    return undefined;
  }
}

function statusText(nodes: readonly NodeOverview[]): string {
  const rows = nodes.map((node): Cell[] => [
    node.node,
    paint(node.well ? 'green' : 'red', node.well ? 'well' : 'not well'),
    `${node.agent}${node.restarts ? ` (${node.restarts} restarts)` : ''}`,
    node.network ?? '-',
    node.subnets.join(' ') || '-',
    node.addresses.join(' ') || '-',
    node.backend ?? '-',
  ]);
  const lines = nodes.flatMap(({ node, problems, notes }) => [
    ...problems.map((problem) => `! ${node}: ${problem}`),
    ...notes.map(({ at, text }) => `  ${node} noted at ${at}: ${text}`),
  ]);
  const shown = table(['NODE', 'STATE', 'AGENT', 'NETWORK', 'PODCIDRS', 'UNDERLAY', 'BACKEND'], rows);
  return [shown || 'there are no nodes', ...(lines.length > 0 ? ['', ...lines] : [])].join('\n');
}
