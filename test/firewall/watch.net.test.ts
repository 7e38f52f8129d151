import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { readNetwork } from '../../src/cluster/network.ts';
import { down } from '../../src/lab/down.ts';
import { labStatus } from '../../src/lab/inspect/status.ts';
import { agentStatus } from '../../src/lab/machine/agent.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { netnsOf } from '../../src/lab/record/names.ts';
import { up } from '../../src/lab/up.ts';
import { problemText } from '../../src/problem.ts';
import { kernelTest } from '../linux/sandbox.ts';

// A foreign firewall on a node: the agent reports that it drops pods' packets, for as long as it does.

const PATIENCE = 30_000;

async function told(lab: Lab, node: string, holds: (warnings: string) => boolean): Promise<string> {
  const deadline = performance.now() + PATIENCE;
  for (;;) {
    const status = await agentStatus(lab, node);
    const warnings = status?.problems.map(problemText).join('\n');
    if (warnings !== undefined && holds(warnings)) return warnings;
    assert.ok(performance.now() < deadline, `the agent says: ${warnings}`);
    await sleep(100);
  }
}

const NETWORK = '10.93.0.0/16';
const CASES = [
  { what: 'vxlan', conf: { Network: NETWORK, Backend: { Type: 'vxlan' } }, device: 'flannel.1' },
  {
    what: 'bgp',
    conf: {
      Network: NETWORK,
      addresses: 'blocks',
      wiring: 'routed',
      Backend: { Type: 'bgp', ipipMode: 'Never' },
    },
    device: 'eth0',
  },
];

for (const { what, conf, device } of CASES) {
  kernelTest(`the agent reports a firewall that drops pods’ packets: ${what}`, async (t) => {
    const name = `ff${process.pid}${what}`;
    t.after(() => down(name));
    const lab = await up({ name, nodes: 1, subnets: 1, network: readNetwork(conf) });
    const nft = (...words: string[]) =>
      execFileSync('ip', ['netns', 'exec', netnsOf(name, 'node1'), 'nft', ...words], { stdio: 'pipe' });
    await told(lab, 'node1', (text) => text === '');
    nft('add table ip filter');
    nft('add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }');
    const text = await told(lab, 'node1', (warnings) => warnings !== '');
    assert.match(text, /^pods are cut off: nft chain ip filter FORWARD drops 10\.93\.0\.0\/16; iptables /);
    assert.match(text, /iptables -I FORWARD -s 10\.93\.0\.0\/16 -j ACCEPT; iptables -I FORWARD -d /);
    const { nodes, problems } = await labStatus(lab);
    assert.deepEqual([nodes[0]?.agent, problems], ['ready', [`node1: ${text}`]]);
    nft(`add rule ip filter FORWARD oifname ${device} accept`);
    nft(`add rule ip filter FORWARD iifname ${device} accept`);
    await told(lab, 'node1', (warnings) => warnings === '');
  });
}
