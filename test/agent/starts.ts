import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import { down } from '../../src/lab/down.ts';
import { agentReady, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { createPod } from '../../src/lab/pods/pod.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { podNetns } from '../../src/lab/record/names.ts';
import { up } from '../../src/lab/up.ts';
import { netnsPath } from '../../src/linux/netns.ts';
import { unreached } from './matrix.ts';
import { Probe, type ProbeEnd } from './probe.ts';
import { changeSavedView } from './saved-view.ts';

const NODES = ['node1', 'node2'];
/** Milliseconds until the pods of a new lab reach each other; BIRD comes up on an emulated machine, too. */
const PATIENCE = 60_000;

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

/**
 * Starts agents of a lab of two nodes with this configuration that many times, each after another end, and
 * asserts that no packet between their pods is lost.
 */
export async function startsLoseNothing(t: TestContext, conf: object, starts: number): Promise<void> {
  const name = `s${process.pid}x${count++}`;
  const lab = await up({ name, nodes: NODES.length, subnets: 1, network: readNetwork(conf) });
  t.after(() => down(lab.name));
  const probe = await Probe.start(t, await podsOn(lab));
  for (let start = 0; start < starts; start++) {
    const node = NODES[start % NODES.length] ?? assert.fail();
    await ENDS[start % ENDS.length]?.(lab, node);
    await startAgent(lab, node);
    await agentReady(lab, node);
  }
  const { sent, lost } = await probe.end();
  t.diagnostic(`${sent} packets`);
  assert.deepEqual(lost, []);
  assert.ok(sent > 1000);
}

let count = 0;

/** Creates a pod on each node, and waits until they reach each other. */
async function podsOn(lab: Lab): Promise<ProbeEnd[]> {
  const ends: ProbeEnd[] = [];
  for (const node of NODES) {
    const pod = { namespace: 'default', name: `on-${node}`, node, labels: {}, containers: [] };
    const { name, namespace, addresses } = await createPod(lab, pod);
    ends.push({ name, netns: podNetns(lab.name, namespace, name), addresses });
  }
  const endpoints = ends.map((end) => ({ ...end, netns: netnsPath(end.netns) }));
  assert.deepEqual(await unreached(4, endpoints, endpoints, PATIENCE), []);
  return ends;
}
