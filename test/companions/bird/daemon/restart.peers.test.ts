import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, chmodSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type BgpPeer, NO_RESOURCES } from '../../../../src/cluster/resources.ts';
import { runningBird } from '../../../../src/companions/bird/daemon/process.ts';
import { parseIp } from '../../../../src/ip/address.ts';
import { killNow, signalProcess, waitForEnd } from '../../../../src/linux/process.ts';
import { BIRD, NO_BIRD } from '../bird.ts';
import { PEER } from '../configuration/resources.ts';
import { Cluster, until, watch } from '../underlay.ts';

const skip = NO_BIRD || (process.geteuid?.() !== 0 ? 'needs root' : false);
const NAMES = ['n1', 'n2', 'n3'];

async function killAll(cluster: Cluster): Promise<void> {
  const running = NAMES.map((name) => runningBird(cluster.bird(name).files));
  await killNow(running.flatMap((id) => id ?? []));
}

/** Whether a node and its peers have recovered from a restart. */
async function isWhole(cluster: Cluster, name: string): Promise<boolean> {
  try {
    const { recovering } = await cluster.bird(name).daemon();
    const protocols = await cluster.bird(name).protocols();
    return (
      !recovering &&
      protocols.every(
        ({ type, info, keepsStale }) => type !== 'BGP' || (info === 'Established' && !keepsStale),
      )
    );
  } catch {
    return false;
  }
}

async function allWhole(cluster: Cluster): Promise<number> {
  return until('all are back', async () =>
    (await Promise.all(NAMES.map((name) => isWhole(cluster, name)))).every(Boolean),
  );
}

test('BIRDs that restart at the same moment lose no route', { skip, timeout: 300_000 }, async (t) => {
  const cluster = new Cluster(t);
  const { underlay } = cluster;
  for (const _ of NAMES) cluster.node();
  await cluster.apply();
  const isUp = () =>
    NAMES.every((name) => [4, 6].every((family) => underlay.routes(name, family as 4 | 6).length === 3));
  await until('the mesh is up', isUp);
  await allWhole(cluster);
  const watched = await Promise.all(NAMES.map((name) => watch(underlay, name)));
  const changes = (): string[] => watched.flatMap((seen) => seen());

  await t.test('no kernel loses a route', async () => {
    for (let round = 0; round < 3; round++) {
      await killAll(cluster);
      await until('all have exited or been replaced', () =>
        NAMES.every((name) => runningBird(cluster.bird(name).files)),
      );
      await allWhole(cluster);
      assert.deepEqual(changes(), [], `round ${round}`);
    }
  });

  await t.test('nor does one when an agent dies during the restart and the next takes over', async () => {
    await killAll(cluster);
    await until('n1 has a new BIRD', () => answers(cluster, 'n1'));
    await cluster.leave('n1');
    await cluster.apply('n1');
    await allWhole(cluster);
    assert.deepEqual(changes(), []);
  });

  await t.test(
    'nor does one when all get a new password and sessions fail until both ends have it',
    async () => {
      const { bgpConfiguration } = NO_RESOURCES;
      const nodeMeshPassword = { name: 'bgp', key: 'mesh' };
      cluster.resources = { ...NO_RESOURCES, bgpConfiguration: { ...bgpConfiguration, nodeMeshPassword } };
      cluster.secrets = new Map([['bgp/mesh', 'a password']]);
      const before = NAMES.map((name) => runningBird(cluster.bird(name).files)?.pid);
      await cluster.apply();
      await until('all have a new BIRD', () =>
        NAMES.every(
          (name, i) => ![undefined, before[i]].includes(runningBird(cluster.bird(name).files)?.pid),
        ),
      );
      await allWhole(cluster);
      assert.deepEqual(changes(), []);
    },
  );

  await t.test('a block withdrawn during the restart disappears, with a delay; the others stay', async () => {
    await killAll(cluster);
    underlay.run('n3', 'ip', 'route', 'del', 'blackhole', '10.244.3.0/26');
    await until(
      'it is gone',
      () =>
        !['n1', 'n2'].some((name) => underlay.routes(name).some((route) => route.startsWith('10.244.3.0'))),
    );
    await allWhole(cluster);
    assert.ok(
      changes().every((line) => line.includes('10.244.3.0/26')),
      changes().join('\n'),
    );
  });

  await t.test('a BIRD without OSPF restarts too', async () => {
    const log = join(underlay.folder, 'without-ospf.log');
    const without = join(underlay.folder, 'without-ospf');
    writeFileSync(
      without,
      `#!/bin/sh
for file; do [ -f "$file" ] && grep -q ospf "$file" && echo no ospf | tee -a ${log} >&2 && exit 1; done
exec ${BIRD} "$@"
`,
    );
    chmodSync(without, 0o755);
    const seen = changes();
    await cluster.leave('n1');
    cluster.program = without;
    await cluster.apply('n1');
    const before = runningBird(cluster.bird('n1').files);
    assert.ok(before);
    await killNow([before]);
    await until(
      'n1 has a new BIRD',
      () => ![undefined, before.pid].includes(runningBird(cluster.bird('n1').files)?.pid),
    );
    await allWhole(cluster);
    assert.equal(readFileSync(log, 'utf8'), 'no ospf\n');
    assert.deepEqual(changes(), seen);
  });
});

/** Takes the port in both families, and reports once it holds it. */
const TAKES_BGP_PORT = `require('node:net').createServer().listen(179, '::', () => console.log('taken'))`;
/** A peer that is configured but never up. */
const DEAD: BgpPeer = { ...PEER, name: 'dead', peerIp: parseIp('10.0.1.99'), asNumber: 65001 };
/** Milliseconds. A restarted BIRD would wait 25 s for the dead peer: see `graceful restart wait`. */
const NO_WAIT = 15_000;

test('a BIRD ended by others does not wait for peers it closed sessions with, nor run a foreign configuration', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const cluster = new Cluster(t);
  const { underlay } = cluster;
  for (const _ of NAMES) cluster.node();
  cluster.resources = { ...NO_RESOURCES, bgpPeers: [DEAD] };
  await cluster.apply();
  const routes = (name: string): number => underlay.routes(name).length + underlay.routes(name, 6).length;
  const allRoutes = (): boolean => NAMES.every((name) => routes(name) === 6);
  await until('all routes are there', allRoutes);
  const isNew = (before: number | undefined) => () =>
    ![undefined, before].includes(runningBird(cluster.bird('n1').files)?.pid);

  const terminate = async (): Promise<void> => {
    const before = runningBird(cluster.bird('n1').files);
    assert.ok(before);
    const seen = await watch(underlay, 'n2');
    signalProcess(before, 'SIGTERM');
    const isLost = (): boolean =>
      /Deleted 10\.244\.1\.0.*\n(.*\n)*Deleted fd10:1::/.test(`${seen().sort().join('\n')}\n`);
    await until('n2 has dropped the routes', isLost);
    await waitForEnd(before, 60_000);
  };

  await t.test('SIGTERM', async (t) => {
    await terminate();
    const took = await until('all routes are back', allRoutes, NO_WAIT);
    t.diagnostic(`${Math.round(took)} ms`);
  });

  await t.test('SIGTERM while there is no agent', async (t) => {
    await cluster.leave('n1');
    await terminate();
    await cluster.apply('n1');
    const took = await until('all routes are back', allRoutes, NO_WAIT);
    t.diagnostic(`${Math.round(took)} ms`);
  });

  await t.test('bird.conf deleted or edited by hand: BIRD starts with the intended one', async () => {
    cluster.resources = NO_RESOURCES;
    await cluster.apply();
    const { files } = cluster.bird('n1');
    const { text } = cluster.config('n1');
    for (const harm of [
      () => rmSync(files.config),
      () => appendFileSync(files.config, 'protocol static Foreign { ipv4; route 192.0.2.0/24 blackhole; }\n'),
      () => writeFileSync(files.config, 'nonsense'),
    ]) {
      await allWhole(cluster);
      harm();
      const before = runningBird(files);
      assert.ok(before);
      await killNow([before]);
      await until('n1 has a new BIRD', isNew(before.pid));
      assert.equal(readFileSync(files.config, 'utf8'), text);
      assert.equal(statSync(files.config).mode & 0o777, 0o600);
      await until('it answers', () => answers(cluster, 'n1'));
      const names = (await cluster.bird('n1').protocols()).map(({ name }) => name);
      assert.ok(names.includes('Node_10_0_1_2') && !names.includes('Foreign'), names.join());
      assert.ok(allRoutes());
    }
  });

  await t.test('bird.conf deleted while neither agent nor BIRD runs: no route is lost', async () => {
    await allWhole(cluster);
    const watched = await Promise.all(NAMES.map((name) => watch(underlay, name)));
    const bird = cluster.bird('n1');
    await cluster.leave('n1');
    const before = runningBird(bird.files);
    assert.ok(before);
    await killNow([before]);
    rmSync(bird.files.config);
    await cluster.apply('n1');
    await allWhole(cluster);
    assert.deepEqual(
      watched.flatMap((seen) => seen()),
      [],
    );
  });

  await t.test('BIRD takes its port as soon as another program frees it', async (t) => {
    await allWhole(cluster);
    const bird = cluster.bird('n1');
    await cluster.leave('n1');
    const before = runningBird(bird.files);
    assert.ok(before);
    await killNow([before]);
    const other = spawn('nsenter', [`--net=${underlay.netns('n1')}`, process.execPath, '-e', TAKES_BGP_PORT]);
    t.after(() => other.kill('SIGKILL'));
    await once(other.stdout, 'data');
    await cluster.apply('n1');
    const infos = async (): Promise<string[]> =>
      (await cluster.bird('n1').protocols()).filter(({ type }) => type === 'BGP').map(({ info }) => info);
    await until('BIRD reports it', async () =>
      (await infos()).some((info) => /No listening socket/.test(info)),
    );
    other.kill('SIGKILL');
    await until('all sessions are back', async () => (await infos()).every((info) => info === 'Established'));
  });

  await t.test('a BIRD that cannot restart is reported', async () => {
    const bird = cluster.bird('n1');
    await cluster.leave('n1');
    const broken = join(underlay.folder, 'broken');
    writeFileSync(broken, `#!/bin/sh\nexec ${BIRD} "$@"\n`);
    chmodSync(broken, 0o755);
    cluster.program = broken;
    await cluster.apply('n1');
    assert.equal(cluster.bird('n1').trouble, undefined);
    writeFileSync(broken, '#!/bin/sh\necho out of order >&2\nexit 1\n');
    const before = runningBird(bird.files);
    assert.ok(before);
    await killNow([before]);
    await until('it is reported', () => /out of order/.test(cluster.bird('n1').trouble ?? ''));
    writeFileSync(broken, `#!/bin/sh\nexec ${BIRD} "$@"\n`);
    await until('it starts', () => answers(cluster, 'n1'));
    assert.equal(cluster.bird('n1').trouble, undefined);
  });
});

async function answers(cluster: Cluster, name: string): Promise<boolean> {
  return (
    (await cluster
      .bird(name)
      .daemon()
      .catch(() => undefined)) !== undefined
  );
}
