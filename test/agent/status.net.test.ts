import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { isWell } from '../../src/agent/status.ts';
import { agentStatus, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { startStore, stopStore } from '../../src/lab/machine/store.ts';
import { encodeLease } from '../../src/store/flannel/lease-value.ts';
import { encodeRecord } from '../../src/store/flannel/node-record.ts';
import { Cluster, LAYOUT } from './cluster.ts';
import { Foreigners } from './foreigners.ts';
import { NETWORKS } from './networks.ts';
import { settled } from './settle.ts';
import { untilStatus } from './until-status.ts';

// The status tells the truth: troubles that were once called "all is well".

test('the store is gone for longer than the lease lasts; it comes back empty', async () => {
  await using cluster = await Cluster.up(2, NETWORKS['host-gw']);
  const [node, other] = cluster.nodes.values();
  assert.ok(node && other);
  await stopAgent(cluster.lab, node.name, 'stop');
  await startAgent(cluster.lab, node.name, 5);
  await untilStatus(cluster, node, (status) => isWell(status) && status.store.connected);
  await stopStore(cluster.lab);
  await untilStatus(cluster, node, ({ store }, text) => !store.connected && /cannot be renewed/.test(text));
  const late = await untilStatus(cluster, node, (_, text) => /lease ran out at/.test(text));
  const text = late.problems.map(({ what, cause }) => `${what}: ${cause}`).join('\n');
  assert.match(
    text,
    /lease ran out at [\d:]{8}: peers have dropped .*: it was last renewed at [\d:]{8}; store/,
  );
  assert.match(text, /the store has been out of reach since [\d:]{8}: store .*ENOENT|ECONNREFUSED/);
  assert.ok(!isWell(late));
  await startStore(cluster.lab);
  await untilStatus(cluster, node, isWell);

  await stopStore(cluster.lab);
  for (const suffix of ['', '-wal', '-shm'])
    rmSync(`${cluster.lab.paths.storeData}${suffix}`, { force: true });
  await startStore(cluster.lab);
  const empty = await untilStatus(cluster, other, (_, text) => /came back without its data at/.test(text));
  assert.ok(!isWell(empty));
  await cluster.store((kv) => kv.put(LAYOUT.config, JSON.stringify(NETWORKS['host-gw'])));
  for (const each of [node, other]) await untilStatus(cluster, each, (_, text) => text === '');
  await settled(cluster, 30_000);
});

test('a start: the interface or the configuration is missing', async () => {
  await using cluster = await Cluster.up(1, NETWORKS['host-gw']);
  const [node] = cluster.nodes.values();
  assert.ok(node);
  await stopAgent(cluster.lab, node.name, 'stop');
  await cluster.store((kv) => kv.delete(LAYOUT.config));
  await startAgent(cluster.lab, node.name);
  const status = await untilStatus(cluster, node, ({ notReady = '' }) => /configuration/.test(notReady));
  assert.match(
    status.notReady ?? '',
    /has not confirmed its subnets yet: .*there is no network configuration; write it: flatnet config apply/,
  );
  await cluster.store((kv) => kv.put(LAYOUT.config, JSON.stringify(NETWORKS['host-gw'])));
  await untilStatus(cluster, node, isWell);

  await stopAgent(cluster.lab, node.name, 'stop');
  cluster.ip(node, 'link set eth0 down');
  cluster.ip(node, 'link set eth0 name eth9');
  cluster.ip(node, 'link set eth9 up');
  await startAgent(cluster.lab, node.name);
  const blind = await untilStatus(cluster, node, ({ notReady = '' }) => /iface/.test(notReady));
  assert.match(
    blind.notReady ?? '',
    /^no underlay: iface: no interface with an address has the name or address eth0; choose one of eth9/,
  );
  assert.ok(await agentStatus(cluster.lab, node.name));
});

test('the network moves away from a node’s subnet; another node has its public address', async () => {
  await using cluster = await Cluster.up(2, NETWORKS.vxlan);
  const [node, other] = cluster.nodes.values();
  assert.ok(node?.subnets && other);
  const put = (conf: object) => cluster.store((kv) => kv.put(LAYOUT.config, JSON.stringify(conf)));
  await put({ ...NETWORKS.vxlan, Network: '10.250.0.0/16', SubnetMax: '10.250.127.0' });
  const moved = await untilStatus(cluster, node, (_, text) =>
    /is not part of the network 10\.250/.test(text),
  );
  assert.match(
    moved.problems.map(({ what }) => what).join(),
    new RegExp(`subnet ${node.subnets[0]} is not part`),
  );
  assert.ok(!isWell(moved));
  await put(NETWORKS.vxlan);
  await untilStatus(cluster, node, (_, text) => text === '');

  const self = cluster.published(node);
  const twin = { ...new Foreigners(cluster).create(), addresses: self.addresses };
  await cluster.store(async (kv) => {
    const { name, labels, addresses, subnets, backend } = { ...twin, name: 'twin' };
    await kv.put(LAYOUT.lease(subnets), encodeLease({ addresses, backend }));
    await kv.put(LAYOUT.node(name), encodeRecord({ name, labels, addresses, subnets, instance: 'x' }));
  });
  const doubled = await untilStatus(cluster, node, (_, text) =>
    /^twin publishes this node’s public/m.test(text),
  );
  assert.ok(!isWell(doubled));
});
