import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Facts } from '../../src/agent/facts.ts';
import { Membership } from '../../src/agent/membership.ts';
import { DEFAULT_PATHS } from '../../src/agent/options.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import type { Node, NodeFacts } from '../../src/cluster/node.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { parseIp } from '../../src/ip/address.ts';
import { SILENT } from '../../src/log.ts';
import { tunnelMacsOf } from '../backends/tunnel-macs.ts';

/**
 * Joins a cluster that uses host-gw; `published` lists what the node published, in order. `former`: the
 * backend it had published before it started. `held`: why it is withheld at first.
 */
async function join(t: TestContext, former?: string, held?: string) {
  const stop = new AbortController();
  t.after(() => stop.abort());
  const options = {
    node: 'node1',
    labels: {},
    store: { endpoints: [] },
    paths: DEFAULT_PATHS,
    logLevel: 'silent',
  };
  const facts = new Facts(options, tunnelMacsOf('node1'), []);
  const setBackend = (type: string): void => {
    const network = readNetwork({ Network: '10.0.0.0/16', Backend: { Type: type } });
    const nodes = former === undefined ? [] : [nodeWith(former)];
    facts.setCluster({ network, nodes, resources: NO_RESOURCES }, true);
  };
  const setAddress = (ip: string): void =>
    facts.setUnderlay({ dev: 'eth0', mtu: 1500, addresses: { 4: parseIp(ip) }, onLink: [] });
  setAddress('192.0.2.1');
  setBackend('host-gw');
  const published: string[] = [];
  const publish = async ({ addresses, backend }: NodeFacts): Promise<void> =>
    void published.push(`${addresses[4]} ${backend.type}`);
  const claim = {
    subnets: [],
    renewal: { at: new Date() },
    publish,
    lost: new Promise<never>(() => {}),
    stop: () => {},
    release: async () => {},
  };
  const cluster = {
    join: async (self: NodeFacts) => {
      await publish(self);
      return claim;
    },
    members: async () => [],
    names: async () => new Set<string>(),
    isAlive: async () => false,
    forget: async () => false,
    place: async () => [],
  };
  let reason = held;
  const withheld = (): string | undefined => reason;
  const { signal } = stop;
  const membership = new Membership(facts, { cluster, log: SILENT, signal, previous: {}, withheld });
  void membership.run();
  const release = (): void => {
    reason = undefined;
    facts.setCompanion({});
  };
  if (!facts.isMember && held === undefined) await once(facts, 'changed');
  const settled = (): void => {
    assert.ok(facts.self);
    membership.settled(facts.self.node);
  };
  return { facts, published, setBackend, setAddress, settled, release };
}

function nodeWith(type: string): Node {
  return { name: 'node1', labels: {}, addresses: {}, subnets: [], backend: { type, data: {} } };
}

/** Lets pending work finish. */
async function quiet(): Promise<void> {
  for (let i = 0; i < 5; i++) await turn();
}

test('a new backend is published once the kernel is set up for it, not earlier', async (t) => {
  const { published, setBackend, settled } = await join(t);
  settled();
  setBackend('vxlan');
  await quiet();
  assert.deepEqual(published, ['192.0.2.1 host-gw']);
  settled();
  await quiet();
  assert.deepEqual(published, ['192.0.2.1 host-gw', '192.0.2.1 vxlan']);
});

test('everything else is published at once, even while the kernel isn’t set up', async (t) => {
  const { published, setAddress } = await join(t);
  setAddress('192.0.2.2');
  await quiet();
  assert.deepEqual(published, ['192.0.2.1 host-gw', '192.0.2.2 host-gw']);
});

test('a backend that was changed while the agent was down is not published earlier either', async (t) => {
  const { published, setAddress, settled } = await join(t, 'vxlan');
  await quiet();
  assert.deepEqual(published, ['192.0.2.1 vxlan']);
  setAddress('192.0.2.2');
  await quiet();
  assert.deepEqual(published, ['192.0.2.1 vxlan', '192.0.2.2 vxlan'], 'while its other facts are');
  settled();
  await quiet();
  assert.deepEqual(published, ['192.0.2.1 vxlan', '192.0.2.2 vxlan', '192.0.2.2 host-gw']);
});

test('a new node does not join while its companion withholds it, and says why', async (t) => {
  const { facts, published, settled, release } = await join(t, undefined, 'no key yet');
  await quiet();
  settled();
  await quiet();
  assert.deepEqual(published, []);
  assert.equal(facts.obstacle('subnets'), 'no key yet');
  release();
  await quiet();
  assert.deepEqual(published, ['192.0.2.1 host-gw']);
});

test('one that peers know already joins as they know it, until what they need is there', async (t) => {
  const { facts, published, settled, release } = await join(t, 'vxlan', 'no key yet');
  if (!facts.isMember) await once(facts, 'changed');
  settled();
  await quiet();
  assert.deepEqual(published, ['192.0.2.1 vxlan']);
  release();
  settled();
  await quiet();
  assert.deepEqual(published, ['192.0.2.1 vxlan', '192.0.2.1 host-gw']);
});
