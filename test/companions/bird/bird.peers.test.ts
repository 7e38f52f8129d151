import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { routesText } from '../../../src/cli/bgp/routes.ts';
import { statusText } from '../../../src/cli/bgp/status.ts';
import { NO_RESOURCES } from '../../../src/cluster/resources.ts';
import { runningBird } from '../../../src/companions/bird/daemon/process.ts';
import { bgpHandlers } from '../../../src/companions/bird/status/handlers.ts';
import { bgpRoutes, bgpStatus } from '../../../src/companions/bird/status/status.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { isAlive, killNow } from '../../../src/linux/process.ts';
import { BIRD, NO_BIRD } from './bird.ts';
import { MESH_OFF, PEER, reflectors } from './configuration/resources.ts';
import { Cluster, until, watch } from './underlay.ts';

const skip = NO_BIRD || (process.geteuid?.() !== 0 ? 'needs root' : false);
/** Milliseconds; less than the 10 s between BIRD's own scans of the kernel. */
const SOON = 9000;

function kill(cluster: Cluster, name: string): Promise<void> {
  const id = runningBird(cluster.bird(name).files);
  assert.ok(id, `${name} has no BIRD`);
  return killNow([id]);
}

async function established(cluster: Cluster, name: string): Promise<boolean> {
  const protocols = await cluster.bird(name).protocols();
  const sessions = protocols.filter(({ type }) => type === 'BGP');
  return sessions.length > 0 && sessions.every(({ info }) => info === 'Established');
}

async function sinceOf(cluster: Cluster, name: string): Promise<Record<string, string>> {
  const protocols = await cluster.bird(name).protocols();
  return Object.fromEntries(protocols.map((protocol) => [protocol.name, protocol.since]));
}

test('a mesh of three nodes, with BIRD killed, upgraded and reconfigured', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const cluster = new Cluster(t);
  const { underlay } = cluster;
  for (let i = 0; i < 3; i++) cluster.node();
  await cluster.apply();
  await until('the mesh is up', () =>
    [4, 6].every((family) =>
      ['n1', 'n2', 'n3'].every((node) => underlay.routes(node, family as 4 | 6).length === 3),
    ),
  );
  assert.deepEqual(underlay.routes('n1').sort(), [
    '10.244.2.0/26 via 10.0.1.2 dev eth0 proto bird metric 32',
    '10.244.3.0/26 via 10.0.1.3 dev eth0 proto bird metric 32',
    'blackhole 10.244.1.0/26 proto 110',
  ]);
  assert.deepEqual(
    underlay.routes('n1', 6).sort()[1],
    'fd10:2::/122 via fd00:1::2 dev eth0 proto bird metric 32',
  );

  await t.test('a block and a borrowed address spread without a new configuration', async () => {
    cluster.claim('n1', '10.244.1.64/26');
    underlay.run('n2', 'ip', 'route', 'add', '10.244.1.5/32', 'dev', 'eth0', 'proto', '110');
    underlay.run('n2', 'ip', 'route', 'add', '10.244.2.6/32', 'dev', 'eth0', 'proto', '111');
    await until('both are there', () => underlay.routes('n3').length === 5, SOON);
    assert.ok(underlay.routes('n1').includes('10.244.1.5 via 10.0.1.2 dev eth0 proto bird metric 32'));
    assert.ok(!underlay.routes('n3').some((route) => route.startsWith('10.244.2.6')));
    underlay.run('n1', 'ip', 'route', 'del', 'blackhole', '10.244.1.64/26');
    underlay.run('n2', 'ip', 'route', 'del', '10.244.1.5/32');
    await until('both are gone', () => underlay.routes('n3').length === 3, SOON);
  });

  await t.test('no kernel changes when BIRD dies, is replaced or is reconfigured', async () => {
    const changes = await Promise.all(['n1', 'n2', 'n3'].map((name) => watch(underlay, name)));
    const quiet = (what: string): void =>
      assert.deepEqual(
        changes.flatMap((seen) => seen()),
        [],
        what,
      );
    const old = runningBird(cluster.bird('n2').files)?.pid;
    await kill(cluster, 'n2');
    await until(
      'n2 has a BIRD',
      () => ![undefined, old].includes(runningBird(cluster.bird('n2').files)?.pid),
    );
    await until('n2’s sessions are back', () => established(cluster, 'n2').catch(() => false));
    await sleep(500);
    quiet('killed');
    const before = runningBird(cluster.bird('n3').files)?.pid;
    await cluster.bird('n3').restart();
    await until('n3’s sessions are back', async () => {
      const pid = runningBird(cluster.bird('n3').files)?.pid;
      return pid !== undefined && pid !== before && (await established(cluster, 'n3').catch(() => false));
    });
    await sleep(500);
    quiet('restarted');
    cluster.resources = {
      ...NO_RESOURCES,
      bgpConfiguration: { ...NO_RESOURCES.bgpConfiguration, serviceCidrs: [parseCidr('10.96.0.0/12')] },
    };
    for (let i = 0; i < 20; i++) {
      cluster.pools = [
        ...cluster.pools.slice(0, 2),
        { cidr: parseCidr(`10.${i}.0.0/16`), ipipMode: 'Never', disableBgpExport: false },
      ];
      await cluster.apply();
    }
    await sleep(500);
    quiet('configured');
  });

  await t.test('a starting agent finds the running BIRD', async () => {
    const seen = await watch(underlay, 'n1');
    const before = runningBird(cluster.bird('n1').files)?.pid;
    await cluster.leave('n1');
    await cluster.apply('n1');
    assert.equal(runningBird(cluster.bird('n1').files)?.pid, before);
    assert.ok(await established(cluster, 'n1'));
    assert.deepEqual(seen(), []);
  });

  await t.test('a starting agent replaces the running BIRD when another version is installed', async () => {
    const seen = await watch(underlay, 'n2');
    const before = runningBird(cluster.bird('n1').files)?.pid;
    await cluster.leave('n1');
    const newer = join(underlay.folder, 'newer-bird');
    writeFileSync(
      newer,
      `#!/bin/sh\n[ "$1" != --version ] && exec ${BIRD} "$@"\necho BIRD version 2.0.99 >&2\n`,
    );
    chmodSync(newer, 0o755);
    cluster.program = newer;
    await cluster.apply('n1');
    await until('the new BIRD’s sessions are up', async () => {
      const pid = runningBird(cluster.bird('n1').files)?.pid;
      return pid !== undefined && pid !== before && (await established(cluster, 'n1').catch(() => false));
    });
    assert.deepEqual(seen(), []);
  });

  await t.test(
    'an agent with another folder ends the BIRD of the former one, without losing a route',
    async () => {
      // Peers tolerate one restart at a time.
      await until('n2 has no stale routes', async () =>
        (await cluster.bird('n2').protocols()).every(({ keepsStale }) => !keepsStale),
      );
      await sleep(1000);
      const seen = await Promise.all(['n1', 'n2'].map((name) => watch(underlay, name)));
      const { files } = cluster.bird('n1');
      const before = runningBird(files);
      assert.ok(before);
      await cluster.leave('n1');
      cluster.folders.set('n1', join(underlay.folder, 'n1', 'moved'));
      await cluster.apply('n1');
      assert.ok(!isAlive(before));
      await until('the new one speaks', () => established(cluster, 'n1').catch(() => false));
      await sleep(500);
      assert.deepEqual(
        seen.flatMap((changes) => changes()),
        [],
      );
    },
  );

  await t.test('BIRD stopped by the agent does not close its sessions with a Cease', async () => {
    const seen = await watch(underlay, 'n1');
    await cluster.bird('n2').stop();
    assert.equal(runningBird(cluster.bird('n2').files), undefined);
    cluster.birds.delete('n2');
    await cluster.apply('n2');
    await until('n2’s sessions are back', () => established(cluster, 'n2').catch(() => false));
    await sleep(300);
    assert.deepEqual(seen(), []);
  });

  await t.test('flatnet bgp status and routes', async () => {
    const bgp = { bird: cluster.bird('n1'), config: cluster.config('n1') };
    const text = statusText(await bgpStatus(bgp));
    assert.match(text, /^BIRD 2\.\d\S* running since \S+ \S+, router id 10\.0\.1\.1\n/);
    assert.match(
      text,
      /\nIPv4 BGP status\n\+-+\+.*\n\| PEER ADDRESS \| +PEER TYPE +\| STATE \| +SINCE +\| INFO +\|\n.*\n\| 10\.0\.1\.2 +\| node-to-node mesh \| up +\| \S+ \S+ \| Established \|\n/,
    );
    assert.match(text, /\nIPv6 BGP status\n(.*\n){3}\| fd00:1::2 /);
    const { 'bgp-routes': ask } = bgpHandlers(() => bgp);
    const from = async (peer: string): Promise<unknown> => ask?.({ peer });
    assert.deepEqual(await from('n2'), {
      routes: [...((await bgpRoutes(bgp, '10.0.1.2')) ?? []), ...((await bgpRoutes(bgp, 'fd00:1::2')) ?? [])],
    });
    assert.match(
      routesText((await bgpRoutes(bgp, '10.0.1.2')) ?? []),
      /\n\* {2}10\.244\.2\.0\/26 {2}via 10\.0\.1\.2 dev eth0 {2}Node_10_0_1_2 /,
    );
    await assert.rejects(from('n9'), { code: 'NOT_FOUND', message: /n9: is not a BGP peer/ });
  });

  await t.test('a session comes and goes without touching the others', async () => {
    const before = await sinceOf(cluster, 'n1');
    cluster.node();
    await cluster.apply();
    await until('n4 is in', () => underlay.routes('n1').some((route) => route.startsWith('10.244.4.0')));
    cluster.nodes.pop();
    await cluster.apply('n1', 'n2', 'n3');
    await until('n4 is out', () => !underlay.routes('n1').some((route) => route.startsWith('10.244.4.0')));
    assert.deepEqual(await sinceOf(cluster, 'n1'), before);
  });

  await t.test('a deleted route is reinstalled at once', async () => {
    underlay.run('n1', 'ip', 'route', 'del', '10.244.2.0/26');
    await cluster.bird('n1').reinstall();
    await until('it is back', () => underlay.routes('n1').length === 3, SOON);
  });

  await t.test('a configuration BIRD rejects leaves the previous one in place', async () => {
    const bird = cluster.bird('n1');
    await assert.rejects(bird.apply('router id nonsense;'), { code: 'BIRD', message: /syntax error/ });
    assert.ok(await established(cluster, 'n1'));
    await kill(cluster, 'n1');
    await until('n1’s sessions are back', () => established(cluster, 'n1').catch(() => false));
  });
});

test('two reflectors: next hops are kept, the mesh is turned off without a change, one reflector is killed', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const cluster = new Cluster(t);
  const { underlay } = cluster;
  const [, , r1, r2] = [cluster.node(1), cluster.node(2), cluster.node(1), cluster.node(2)];
  cluster.node(1);
  cluster.pools = [{ cidr: parseCidr('10.244.0.0/16'), ipipMode: 'CrossSubnet', disableBgpExport: false }];
  cluster.secrets = new Map([['bgp/mesh', 'a password']]);
  const secret = { name: 'bgp', key: 'mesh' };
  assert.ok(r1 && r2);
  const bgpConfiguration = { ...NO_RESOURCES.bgpConfiguration, nodeMeshPassword: secret };
  const peer = { ...PEER, nodeSelector: 'all()', peerSelector: 'has(rr)', password: secret };
  cluster.resources = { ...NO_RESOURCES, bgpConfiguration, bgpPeers: [peer], nodes: reflectors(r1, r2) };
  await cluster.apply();
  await until('all is known', () => cluster.nodes.every(({ name }) => underlay.routes(name).length === 5));
  // n1, n3, n5 are in one subnet, n2 and n4 in the other.
  assert.deepEqual(underlay.routes('n1').sort(), [
    '10.244.2.0/26 via 10.0.2.2 dev tunl0 proto bird metric 32 onlink',
    '10.244.3.0/26 via 10.0.1.3 dev eth0 proto bird metric 32',
    '10.244.4.0/26 via 10.0.2.4 dev tunl0 proto bird metric 32 onlink',
    '10.244.5.0/26 via 10.0.1.5 dev eth0 proto bird metric 32',
    'blackhole 10.244.1.0/26 proto 110',
  ]);
  for (const { name } of cluster.nodes) await until(`${name} is up`, () => established(cluster, name));

  const changes = await Promise.all(cluster.nodes.map(({ name }) => watch(underlay, name)));
  const quiet = (what: string): void =>
    assert.deepEqual(
      changes.flatMap((seen) => seen()),
      [],
      what,
    );
  cluster.resources = { ...cluster.resources, bgpConfiguration: { ...MESH_OFF, nodeMeshPassword: secret } };
  await cluster.apply();
  await sleep(500);
  quiet('mesh off');
  assert.deepEqual(
    (await cluster.bird('n1').protocols()).filter(({ type }) => type === 'BGP').map(({ name }) => name),
    ['Node_10_0_1_3', 'Node_10_0_2_4', 'Node_fd00_1__3', 'Node_fd00_2__4'],
  );

  await kill(cluster, 'n3');
  await until('the reflector’s sessions are back', () => established(cluster, 'n3').catch(() => false));
  await sleep(500);
  quiet('reflector killed');

  await t.test('tunl0 recreated: its routes are back after a reload of imports', async () => {
    underlay.run('n1', 'ip', 'link', 'del', 'tunl0');
    await until('its routes are gone', () => underlay.routes('n1').length === 3);
    underlay.tunnel('n1');
    await cluster.bird('n1').reloadImports();
    await until('they are back', () => underlay.routes('n1').length === 5, SOON);
  });

  await t.test('a prefix announced by two nodes is reached through both', async () => {
    for (const name of ['n2', 'n5']) cluster.claim(name, '10.244.77.0/26');
    const both = (): string => underlay.run('n1', 'ip', 'route', 'show', '10.244.77.0/26');
    await until(
      'two next hops',
      () => /10\.0\.2\.2 dev tunl0/.test(both()) && /10\.0\.1\.5 dev eth0/.test(both()),
    );
  });
});
