import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { networkToNetConf } from '../../src/cluster/network.ts';
import { agentStatus, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { problemText } from '../../src/problem.ts';
import { Cluster, LAYOUT } from './cluster.ts';
import { NETWORKS } from './networks.ts';
import { kernelDifferences, settled } from './settle.ts';
import { untilStatus } from './until-status.ts';

// What anyone may write into the store: it never ends an agent, and never costs a running pod its network.

const NETWORK = '10.200.0.0/16';
const vxlan = (options: object): string =>
  JSON.stringify({ Network: NETWORK, Backend: { Type: 'vxlan', ...options } });

const CONFIGS: readonly (readonly [value: string, reason: RegExp])[] = [
  [JSON.stringify({ Network: NETWORK, Backend: { Type: 'wireguard' } }), /Backend\.Type: unknown backend/],
  [JSON.stringify({ Network: NETWORK, Backend: { Type: 'constructor' } }), /Backend\.Type: unknown backend/],
  [JSON.stringify({ Network: NETWORK, Backend: [] }), /Backend: must be an object/],
  [vxlan({ VNI: 'abc' }), /Backend\.VNI: must be a whole number/],
  [vxlan({ VNI: 99999999 }), /Backend\.VNI: must be a whole number/],
  [vxlan({ VNI: -1 }), /Backend\.VNI: must be a whole number/],
  [vxlan({ Port: 65536 }), /Backend\.Port: must be a whole number/],
  [vxlan({ MTU: 1.5 }), /Backend\.MTU: must be a whole number/],
  [JSON.stringify({ Network: NETWORK, SubnetLen: 99 }), /SubnetLen/],
  [JSON.stringify({ Network: '10.200.0.0/33' }), /Network/],
  [`{"Network":"${NETWORK}","Network":"10.201.0.0/16"}`, /"Network" occurs twice/],
  ['', /JSON/],
  ['null', /must be an object/],
  ['[['.repeat(50_000), /JSON|nested/],
  [`{"Network":${'['.repeat(50_000)}${']'.repeat(50_000)}}`, /nested/],
  [`{"Network":"${'x'.repeat(1_400_000)}"}`, /Network/],
];

test('a bad network/config: the last good one stays in force, also over a restart', async () => {
  await using cluster = await Cluster.up(2, NETWORKS.vxlan);
  const [node, other] = cluster.nodes.values();
  assert.ok(node && other);
  const pid = (await agentStatus(cluster.lab, node.name))?.pid;
  const good = networkToNetConf(cluster.network);
  const put = (value: string) => cluster.store((kv) => kv.put(LAYOUT.config, value));
  for (const [value, reason] of CONFIGS) {
    await put(value);
    const status = await untilStatus(cluster, node, (_, text) => reason.test(text));
    assert.equal(status.pid, pid, 'the agent lives');
    assert.equal(status.notReady, undefined);
    const line = status.problems.map(problemText)[0] ?? '';
    assert.match(
      line,
      /^\/coreos\.com\/network\/config is ignored: .*; the configuration of [\d:]{8} stays in force; /,
    );
    assert.ok(line.length < 600, `${line.length} characters`);
    assert.deepEqual(await kernelDifferences(cluster, node), []);
  }
  await put(JSON.stringify({ Network: NETWORK, Backend: { Type: 'wireguard' } }));
  await stopAgent(cluster.lab, node.name, 'kill');
  await startAgent(cluster.lab, node.name);
  await untilStatus(
    cluster,
    node,
    ({ ready }, text) => ready && /config is ignored: .*the last good/.test(text),
  );
  assert.deepEqual(await kernelDifferences(cluster, node), []);

  const fresh = await cluster.addNode(1);
  const { notReady = '' } = await untilStatus(cluster, fresh, ({ notReady }) =>
    /wireguard/.test(notReady ?? ''),
  );
  assert.match(notReady, /^the network is unknown: .*Backend\.Type: unknown backend 'wireguard'; use one of/);

  await cluster.store((kv) => kv.delete(LAYOUT.config));
  await untilStatus(cluster, other, (_, text) =>
    /^\/coreos\.com\/network\/config is missing: .*stays in force; write/.test(text),
  );
  await untilStatus(cluster, fresh, ({ notReady }) =>
    /there is no network configuration/.test(notReady ?? ''),
  );
  await put(good);
  await settled(cluster);
  assert.doesNotMatch(readFileSync(cluster.lab.paths.node(node.name).agentLog, 'utf8'), /uncaught/i);
});
