import assert from 'node:assert/strict';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runningBird } from '../../src/bgp/daemon.ts';
import { killNow } from '../../src/runtime/process.ts';
import { BIRD, NO_BIRD } from './bird.ts';
import { Cluster, RESOURCES, until, watch } from './underlay.ts';

const skip = NO_BIRD || (process.geteuid?.() !== 0 ? 'needs root' : false);
const NAMES = ['n1', 'n2', 'n3'];

async function killAll(cluster: Cluster): Promise<void> {
  const running = NAMES.map((name) => runningBird(cluster.bird(name).files));
  await killNow(running.flatMap((id) => id ?? []));
}

/** Has come back from a restart, and so have its peers. */
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
  return until(
    'all are back',
    async () => (await Promise.all(NAMES.map((name) => isWhole(cluster, name)))).every(Boolean),
    60_000,
  );
}

test('BIRDs that restart at the same moment', { skip, timeout: 300_000 }, async (t) => {
  const cluster = new Cluster(t);
  const { underlay } = cluster;
  for (const _ of NAMES) cluster.node();
  await cluster.apply();
  const isUp = () =>
    NAMES.every((name) => [4, 6].every((family) => underlay.routes(name, family as 4 | 6).length === 3));
  await until('the mesh is up', isUp, 60_000);
  await allWhole(cluster);
  const watched = await Promise.all(NAMES.map((name) => watch(underlay, name)));
  const changes = (): string[] => watched.flatMap((seen) => seen());

  await t.test('no kernel loses a route', async () => {
    for (let round = 0; round < 3; round++) {
      await killAll(cluster);
      await until('all are gone or new', () => NAMES.every((name) => runningBird(cluster.bird(name).files)));
      await allWhole(cluster);
      assert.deepEqual(changes(), [], `round ${round}`);
    }
  });

  await t.test('nor when an agent goes meanwhile, and the next one takes over', async () => {
    await killAll(cluster);
    const answers = async (): Promise<boolean> => (await cluster.bird('n1').daemon()).version !== '';
    await until('n1 has a new BIRD', () => answers().catch(() => false));
    await cluster.bird('n1')[Symbol.asyncDispose]();
    cluster.birds.delete('n1');
    await cluster.apply('n1');
    await allWhole(cluster);
    assert.deepEqual(changes(), []);
  });

  await t.test('nor when all get a new password, and sessions fail until both ends have it', async () => {
    const { bgpConfiguration } = RESOURCES;
    const nodeMeshPassword = { name: 'bgp', key: 'mesh' };
    cluster.resources = { ...RESOURCES, bgpConfiguration: { ...bgpConfiguration, nodeMeshPassword } };
    cluster.secrets = new Map([['bgp/mesh', 'a password']]);
    const before = NAMES.map((name) => runningBird(cluster.bird(name).files)?.pid);
    await cluster.apply();
    await until(
      'all have a new BIRD',
      () =>
        NAMES.every(
          (name, i) => ![undefined, before[i]].includes(runningBird(cluster.bird(name).files)?.pid),
        ),
      60_000,
    );
    await allWhole(cluster);
    assert.deepEqual(changes(), []);
  });

  await t.test('a block that went meanwhile goes, if later; the others stay', async () => {
    await killAll(cluster);
    underlay.run('n3', 'ip', 'route', 'del', 'blackhole', '10.244.3.0/26');
    await until(
      'it is gone',
      () =>
        !['n1', 'n2'].some((name) => underlay.routes(name).some((route) => route.startsWith('10.244.3.0'))),
      60_000,
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
    await cluster.bird('n1')[Symbol.asyncDispose]();
    cluster.birds.delete('n1');
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
