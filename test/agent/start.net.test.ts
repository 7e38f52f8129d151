import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import { down } from '../../src/lab/down.ts';
import { agentReady, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { createPod } from '../../src/lab/pods/pod.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { podNetns } from '../../src/lab/record/names.ts';
import { up } from '../../src/lab/up.ts';
import { netnsPath } from '../../src/linux/netns.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { unreached } from './matrix.ts';
import { NETWORKS } from './networks.ts';
import { Probe, type ProbeEnd } from './probe.ts';
import { changeSavedView } from './saved-view.ts';

/** One for each backend and wiring. */
const CONFIGURATIONS = {
  'host-gw, bridge': NETWORKS['host-gw'],
  'vxlan dual stack, bridge': NETWORKS['vxlan dual stack'],
  'vxlan, routed': { ...NETWORKS.vxlan, wiring: 'routed' },
  'bgp, blocks, routed': {
    Network: '10.244.0.0/16',
    addresses: 'blocks',
    wiring: 'routed',
    Backend: { Type: 'bgp', ipipMode: 'Never' },
  },
};

/** Each end (`ENDS`) twice on each node. */
const STARTS = 20;
const NODES = ['node1', 'node2'];

/** How an agent ends, and what its last view on disk may lack. */
const ENDS: readonly ((lab: Lab, node: string) => Promise<void>)[] = [
  (lab, node) => stopAgent(lab, node, 'stop'),
  (lab, node) => stopAgent(lab, node, 'kill'),
  async (lab, node) => {
    await stopAgent(lab, node, 'kill');
    changeSavedView(lab, node, (nodes) => nodes.map((each) => ({ ...each, subnets: [] })));
  },
  async (lab, node) => {
    await stopAgent(lab, node, 'kill');
    changeSavedView(lab, node, (nodes) => nodes.filter(({ name }) => name === node));
  },
  async (lab, node) => {
    await stopAgent(lab, node, 'kill');
    changeSavedView(lab, node, () => []);
  },
];

// Run concurrently, so that their waits overlap.
describe(`${STARTS} starts of agents lose nothing`, { concurrency: true, skip: NO_KERNEL }, () => {
  for (const [i, [name, conf]] of Object.entries(CONFIGURATIONS).entries()) {
    test(name, { timeout: 300_000 }, async (t) => {
      const network = readNetwork(conf);
      const lab = await up({ name: `s${process.pid}x${i}`, nodes: NODES.length, subnets: 1, network });
      t.after(() => down(lab.name));
      const probe = await Probe.start(t, await podsOn(lab));
      for (let start = 0; start < STARTS; start++) {
        const node = NODES[start % NODES.length] ?? assert.fail();
        await ENDS[start % ENDS.length]?.(lab, node);
        await startAgent(lab, node);
        await agentReady(lab, node);
      }
      await conclude(t, probe);
    });
  }
});

/** Creates a pod on each node, and waits until they reach each other. */
async function podsOn(lab: Lab): Promise<ProbeEnd[]> {
  const ends: ProbeEnd[] = [];
  for (const node of NODES) {
    const pod = { namespace: 'default', name: `on-${node}`, node, labels: {}, containers: [] };
    const { name, namespace, addresses } = await createPod(lab, pod);
    ends.push({ name, netns: podNetns(lab.name, namespace, name), addresses });
  }
  const endpoints = ends.map((end) => ({ ...end, netns: netnsPath(end.netns) }));
  assert.deepEqual(await unreached(4, endpoints, endpoints, 30_000), []);
  return ends;
}

async function conclude(t: TestContext, probe: Probe): Promise<void> {
  const { sent, lost } = await probe.end();
  t.diagnostic(`${sent} packets`);
  assert.deepEqual(lost, []);
  assert.ok(sent > 1000);
}
