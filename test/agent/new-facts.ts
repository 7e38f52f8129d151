import { Facts } from '../../src/agent/facts.ts';
import { DEFAULT_PATHS } from '../../src/agent/options.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import type { ClusterView } from '../../src/store/ports/feed.ts';
import { tunnelMacsOf } from '../backends/tunnel-macs.ts';
import { pool } from '../ipam/blocks/plan.ts';

/** Of a node that knows nothing yet. */
export function newFacts(): Facts {
  const store = { endpoints: [] };
  return new Facts(
    { node: 'node1', labels: {}, store, paths: DEFAULT_PATHS, logLevel: 'silent' },
    tunnelMacsOf('node1'),
    [],
  );
}

const POOL = pool('pool', '10.0.0.0/16', 26);

/** A cluster of one node, with these blocks. */
export function view(...blocks: string[]): ClusterView {
  const network = readNetwork({
    Network: '10.0.0.0/16',
    addresses: 'blocks',
    wiring: 'routed',
    Backend: { Type: 'bgp' },
  });
  const node = { name: 'node1', labels: {}, addresses: {}, backend: { type: 'bgp', data: {} } };
  return {
    network,
    resources: { ...NO_RESOURCES, ipPools: [POOL] },
    nodes: [{ ...node, subnets: blocks.map(parseCidr) }],
  };
}
