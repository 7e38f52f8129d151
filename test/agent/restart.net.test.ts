import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import { down } from '../../src/lab/down.ts';
import { agentReady, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { createPod } from '../../src/lab/pods/pod.ts';
import { netnsOf } from '../../src/lab/record/names.ts';
import { up } from '../../src/lab/up.ts';
import { NO_KERNEL } from '../state/namespace.ts';

/** Starts `program` in a node; the returned function ends it and returns its output. */
async function listen(t: TestContext, netns: string, ...program: string[]): Promise<() => Promise<string>> {
  const child = spawn('ip', ['netns', 'exec', netns, 'stdbuf', '-oL', ...program]);
  t.after(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(child, 'spawn');
  await settled(300);
  return async () => {
    await settled(100);
    const closed = once(child, 'close');
    child.kill('SIGTERM');
    await closed;
    return text;
  };
}

async function noTentative(netns: string): Promise<void> {
  for (let i = 0; i < 200 && ip(netns, '-6', 'address', 'show', 'tentative') !== ''; i++) await settled(50);
}

const ip = (netns: string, ...args: string[]) =>
  execFileSync('ip', ['-n', netns, ...args], { encoding: 'utf8' });

const settled = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const CONFIGURATIONS = {
  'vxlan, leases, bridge': { Network: '10.244.0.0/16', Backend: { Type: 'vxlan' } },
  'bgp, blocks, routed': {
    Network: '10.244.0.0/16',
    addresses: 'blocks',
    wiring: 'routed',
    Backend: { Type: 'bgp', ipipMode: 'Never' },
  },
};

for (const [name, conf] of Object.entries(CONFIGURATIONS)) {
  test(`a restarted agent changes nothing (${name})`, {
    skip: NO_KERNEL,
    timeout: 120_000,
  }, async (t) => {
    const lab = await up({
      name: `r${process.pid}${conf.Backend.Type}`,
      nodes: 2,
      subnets: 1,
      network: readNetwork(conf),
    });
    t.after(() => down(lab.name));
    for (const node of ['node1', 'node2']) {
      await createPod(lab, { namespace: 'default', name: `on-${node}`, node, labels: {}, containers: [] });
    }
    // Until the pods' changes are on disk, and duplicate address detection of the bridges has ended.
    await settled(2000);
    for (const node of ['node1', 'node2']) await noTentative(netnsOf(lab.name, node));
    for (const how of ['stop', 'kill'] as const) {
      const monitors = await Promise.all(
        ['node1', 'node2'].flatMap((node) => {
          const netns = netnsOf(lab.name, node);
          return [
            listen(t, netns, 'ip', 'monitor', 'link', 'address', 'route', 'rule'),
            listen(t, netns, 'nft', 'monitor'),
          ];
        }),
      );
      await stopAgent(lab, 'node1', how);
      await startAgent(lab, 'node1');
      await agentReady(lab, 'node1');
      await settled(2000);
      const texts = await Promise.all(monitors.map((output) => output()));
      assert.deepEqual(texts, ['', '', '', ''], `${how}: node1’s kernel, node2’s kernel`);
    }
  });
}
