import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HealthServer } from '../../src/agent/health-server.ts';
import { metricsText } from '../../src/agent/metrics.ts';
import { readAgentOptions } from '../../src/agent/options.ts';
import type { AgentStatus } from '../../src/agent/status.ts';
import { parseIp } from '../../src/ip/address.ts';

const STATUS: AgentStatus = {
  node: 'node1',
  ready: true,
  pid: 1,
  subnets: [],
  backend: 'vxlan',
  mtu: 1450,
  peers: 2,
  pods: [],
  reconcile: { runs: 7, lastChanges: 1, failures: ['no'], unguarded: undefined },
  problems: [
    { id: 'kernel-refuses', severity: 'error', what: 'a' },
    { id: 'kernel-refuses', severity: 'error', what: 'b' },
    { id: 'block-outside-pools', severity: 'warning', what: 'c' },
  ],
  packets: { sent: 3, strangers: 2 },
  policies: {
    policies: 4,
    refused: 1,
    refusedStaged: 2,
    elements: 30,
    denied: { ingress: 7, egress: 8, unprotected: 9 },
    unlogged: 5,
    staged: [{ policy: 'StagedNetworkPolicy default/x', wouldDeny: 3, wouldAllow: 2 }],
    lastChange: 0.25,
  },
  store: { connected: false, lastRenewal: '2026-01-01T00:00:00.000Z' },
};

test('health, readiness with its reason, and metrics', async () => {
  let reason: string | undefined = 'no subnet: no answer from the store yet';
  const address = { ip: parseIp('127.0.0.1'), port: 0 };
  await using server = await HealthServer.listen(address, {
    notReady: () => reason,
    status: async () => STATUS,
  });
  const get = async (path: string, method = 'GET'): Promise<[number, string]> => {
    const answer = await fetch(`http://127.0.0.1:${server.port}${path}`, { method });
    return [answer.status, await answer.text()];
  };
  assert.deepEqual(await get('/healthz'), [200, 'flatnet is running\n']);
  assert.deepEqual(await get('/readyz'), [503, `flatnet is not ready: ${reason}\n`]);
  reason = undefined;
  assert.deepEqual(await get('/readyz?verbose'), [200, 'flatnet is ready\n']);
  assert.equal((await get('/metrics'))[0], 200);
  assert.equal((await get('/'))[0], 404);
  assert.equal((await get('/healthz', 'POST'))[0], 405);
  const taken = HealthServer.listen(
    { ...address, port: server.port },
    { notReady: () => undefined, status: async () => STATUS },
  );
  await assert.rejects(taken, { code: 'IO' });
});

test('metrics in Prometheus’ text format: each name once with its help and type, problems counted by kind', () => {
  const lines = metricsText(STATUS, { memory: 80e6, cpu: 1.5, startTime: 1 }).split('\n');
  const samples = lines.filter((line) => line && !line.startsWith('#'));
  for (const line of samples) {
    assert.match(line, /^[a-z_]+(\{([a-z]+="[^"]*",?)+\})? -?[\d.e+]+$/);
    const name = /^[a-z_]+/.exec(line)?.[0] ?? '';
    for (const what of ['HELP', 'TYPE']) {
      assert.equal(lines.filter((each) => each.startsWith(`# ${what} ${name} `)).length, 1, name);
    }
  }
  for (const expected of [
    'flatnet_ready 1',
    'flatnet_backend_info{type="vxlan"} 1',
    'flatnet_problems{id="kernel-refuses",severity="error"} 2',
    'flatnet_problems{id="block-outside-pools",severity="warning"} 1',
    'flatnet_packets_total{fate="strangers"} 2',
    'flatnet_policies 4',
    'flatnet_policies_refused{staged="false"} 1',
    'flatnet_policies_refused{staged="true"} 2',
    'flatnet_policy_elements 30',
    'flatnet_policy_denied_packets_total{direction="egress"} 8',
    'flatnet_policy_denied_packets_total{direction="unprotected"} 9',
    'flatnet_policy_unlogged_packets_total 5',
    'flatnet_policy_staged_packets_total{policy="StagedNetworkPolicy default/x",would="deny"} 3',
    'flatnet_policy_last_change_seconds 0.25',
    'flatnet_store_connected 0',
    'flatnet_store_confirmed_timestamp_seconds 1767225600',
  ]) {
    assert.ok(samples.includes(expected), expected);
  }
});

test('health is served nowhere unless a port is set, and then on loopback', () => {
  const health = (value: object) => readAgentOptions({ node: 'a', ...value }).health;
  assert.equal(health({}), undefined);
  assert.equal(health({ health: { port: 0 } }), undefined);
  assert.deepEqual(health({ health: { port: 8081 } }), { ip: '127.0.0.1', port: 8081 });
  assert.deepEqual(health({ health: { ip: '0.0.0.0', port: 1 } }), { ip: '0.0.0.0', port: 1 });
  assert.throws(() => health({ health: { port: 'x' } }), { code: 'CONFIG_INVALID' });
});
