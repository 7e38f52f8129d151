import type { TestContext } from 'node:test';
import { Facts } from '../../src/agent/facts.ts';
import { Loop } from '../../src/agent/loop.ts';
import { DEFAULT_PATHS } from '../../src/agent/options.ts';
import type { LocalPod } from '../../src/cluster/node.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseMac } from '../../src/ip/mac.ts';
import { SILENT } from '../../src/log.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';

export const PLAN: Plan = { size: 3, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };

/** A pod of the plan's first node, with the device `vethN`. */
export const podOn = (n: number): LocalPod => ({
  containerId: `c${n}`,
  labels: {},
  ifName: 'eth0',
  hostDevice: `veth${n}`,
  netns: '/n',
  addresses: [parseIp(`10.0.1.${n}`), parseIp(`fd10:0:0:1::${n}`)],
  mac: parseMac(`02:00:00:00:00:0${n}`),
});

/**
 * The loop of the plan's first node with these pods, not started, in the namespace at a path; and what it
 * does not know yet. `stop` ends it, at the latest after the test.
 */
export function localLoop(t: TestContext, path: string, pods: readonly LocalPod[]) {
  const { network, self, resources = NO_RESOURCES } = factsOf(PLAN);
  const store = { endpoints: [] };
  const options = { node: self.node.name, labels: {}, store, paths: DEFAULT_PATHS, logLevel: 'silent' };
  const facts = new Facts(options, self.tunnelMacs, pods);
  const loop = new Loop(facts, SILENT, path);
  const stop = new AbortController();
  t.after(() => stop.abort());
  return { facts, loop, stop, network, self, resources };
}
