import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type CallOptions, call, eventually, Host, ip, leftovers, must, Pod, pings } from '../host.ts';

/** A process that runs the script with a path; `ready` once it has printed something. */
function spawnHolder(script: string, path: string) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, path]);
  const ready = once(child.stdout, 'data');
  return { ready, end: () => child.kill('SIGKILL') };
}

const WEB = { env: { CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0' } };

function recordOf(host: Host, name = 'cbr0:pod-0:eth0:interface'): string {
  return join(host.stateDir, 'attachments', `${name}.json`);
}

const json = (change: (record: Record<string, unknown>) => unknown) => (path: string) =>
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')))));

/** What disks, people and other programs make of a record. */
const DAMAGES: Record<string, (path: string) => void> = {
  'cut to 100 bytes': (path) => truncateSync(path, 100),
  empty: (path) => truncateSync(path, 0),
  'full of zeros': (path) => writeFileSync(path, Buffer.alloc(400)),
  'followed by garbage': (path) => writeFileSync(path, `${readFileSync(path, 'utf8')}}"`),
  'valid JSON, but a list': (path) => writeFileSync(path, '[]'),
  'valid JSON, but null': (path) => writeFileSync(path, 'null'),
  'an empty object': (path) => writeFileSync(path, '{}'),
  'without its state': json(({ state: _, ...rest }) => rest),
  'of an unknown state': json((record) => ({ ...record, state: 'gone' })),
  'with addresses that are none': json((record) => ({ ...record, addresses: ['10.90.1.300/24'] })),
  'with an unknown wiring': json((record) => ({ ...record, wiring: 'constructor' })),
  'with another’s inode': json((record) => ({ ...record, netnsId: 'x' })),
  'the record of another pod': json((record) => ({ ...record, containerId: 'pod-1' })),
  'a folder': (path) => {
    rmSync(path);
    mkdirSync(join(path, 'x'), { recursive: true });
  },
  'a loop of links': (path) => {
    rmSync(path);
    symlinkSync(path, path);
  },
  missing: (path) => rmSync(path),
};

for (const wiring of ['bridge', 'routed'] as const) {
  for (const [what, damage] of Object.entries(DAMAGES)) {
    test(`${wiring}: a pod that runs is kept and its record rebuilt if that is ${what}`, async () => {
      await using host = new Host({ wiring });
      using pod = new Pod();
      const result = await must(host, 'ADD', { pod, ...WEB });
      const before = readFileSync(recordOf(host), 'utf8');
      const known = [...host.pods.values()];
      await host.stop();
      damage(recordOf(host));
      await using next = new Host({ dir: host.dir, netns: host.netns, wiring });
      await next.service.collectGarbage();
      assert.deepEqual([...next.pods.values()], known);
      assert.deepEqual(JSON.parse(readFileSync(recordOf(host), 'utf8')), JSON.parse(before));
      assert.match(next.warnings.join(), /the record of default\/web-0 has been rebuilt from the kernel/);
      for (const { address } of result.ips)
        assert.ok(pings(host.netns, address.split('/')[0] ?? ''), address);
      assert.deepEqual(next.service.problems, []);
      // Again, and nothing changes.
      await next.service.collectGarbage();
      assert.equal(next.warnings.length, 1);
      await must(next, 'CHECK', { pod, conf: { prevResult: { cniVersion: '1.1.0', ...result } } });
      const second = await call(next, 'ADD', { pod, ...WEB });
      assert.match(String(second.out?.msg), /already has interface eth0/);
      await must(next, 'DEL', { pod });
      await eventually('nothing is left', () => leftovers(next).length === 0);
    });
  }
}

test('fields of a later version are kept', async () => {
  await using host = new Host();
  using pod = new Pod();
  await must(host, 'ADD', { pod });
  json((record) => ({ ...record, colour: 'red' }))(recordOf(host));
  const before = readFileSync(recordOf(host), 'utf8');
  await host.service.collectGarbage();
  assert.equal(readFileSync(recordOf(host), 'utf8'), before);
  assert.deepEqual(host.warnings, []);
  await must(host, 'DEL', { pod });
  await eventually('nothing is left', () => leftovers(host).length === 0);
});

test('a second ADD or a CHECK before the collection finds the pod, too', async () => {
  await using host = new Host();
  using pod = new Pod();
  const result = await must(host, 'ADD', { pod });
  truncateSync(recordOf(host), 100);
  assert.match(String((await call(host, 'ADD', { pod })).out?.msg), /already has interface eth0/);
  truncateSync(recordOf(host), 100);
  await must(host, 'CHECK', { pod, conf: { prevResult: { cniVersion: '1.1.0', ...result } } });
  assert.ok(pings(host.netns, '10.90.1.2'));
});

test('the record of a pod whose namespace is out of sight is rebuilt from the node alone', async () => {
  for (const wiring of ['bridge', 'routed'] as const) {
    await using host = new Host({ wiring, subnets: ['10.90.1.0/24'], networks: ['10.90.0.0/16'] });
    using pod = new Pod();
    await must(host, 'ADD', { pod, ...WEB });
    const { netns: _, netnsId: __, ...before } = JSON.parse(readFileSync(recordOf(host), 'utf8'));
    truncateSync(recordOf(host), 100);
    // The name is gone, and no process is inside: only this descriptor holds the namespace.
    const script = `import { openSync } from 'node:fs';
      openSync(process.argv[1], 'r'); console.log('held'); setInterval(() => {}, 1000);`;
    const holder = spawnHolder(script, pod.path);
    try {
      await holder.ready;
      pod[Symbol.dispose]();
      await host.service.collectGarbage();
      const { netns, netnsId, ...after } = JSON.parse(readFileSync(recordOf(host), 'utf8'));
      assert.deepEqual(after, before);
      assert.deepEqual([netns, netnsId], ['', -1]);
      await host.service.collectGarbage();
      assert.ok(pings(host.netns, '10.90.1.2'), 'the pod is kept');
    } finally {
      holder.end();
    }
    await eventually(
      'the veth is gone',
      () => !ip(host.netns, 'link').some(({ ifname }) => /^(veth|cali)/.test(ifname)),
    );
    await host.service.collectGarbage();
    assert.deepEqual(leftovers(host), []);
    assert.equal(host.pods.size, 0);
  }
});

const DELEGATE = { name: 'chain', type: 'bridge', ipam: { type: 'flatnet' } };

test('an address assigned for another plugin stays while its record cannot be read', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'], networks: [] });
  using pod = new Pod();
  await must(host, 'ADD', { pod, conf: DELEGATE });
  const path = recordOf(host, 'chain:pod-0:eth0:ipam');
  truncateSync(path, 100);
  await host.service.collectGarbage();
  assert.ok(existsSync(join(host.dataDir, 'chain', '10.90.1.2')));
  assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')).addresses, ['10.90.1.2/24']);
  await must(host, 'DEL', { pod, conf: DELEGATE });
  await eventually('nothing is left', () => leftovers(host).length === 0);
});

test('a chained interface whose record cannot be read does not cost the address that we assigned', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'], networks: [] });
  using pod = new Pod();
  await must(host, 'ADD', { pod, conf: DELEGATE });
  const chained: CallOptions = {
    pod,
    conf: {
      name: 'chain',
      prevResult: { cniVersion: '1.1.0', interfaces: [{ name: 'lo', sandbox: '/x' }], ips: [] },
    },
    ifName: 'eth0',
  };
  spawnSync('ip', ['-n', pod.name, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'x']);
  await must(host, 'ADD', chained);
  truncateSync(recordOf(host, 'chain:pod-0:eth0:interface'), 100);
  await host.service.collectGarbage();
  assert.ok(existsSync(join(host.dataDir, 'chain', '10.90.1.2')));
  const [problem] = host.service.problems;
  assert.match(`${problem?.what} ${problem?.fix}`, /the record of pod-0 cannot be read: .*delete the pod/);
  await must(host, 'DEL', chained);
  await must(host, 'DEL', { pod, conf: DELEGATE });
  await eventually('nothing is left', () => leftovers(host).length === 0);
  await host.service.collectGarbage();
  assert.deepEqual(host.service.problems, []);
});

test('the record of an interface chained to another plugin’s does not cost what host-local reserved', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'], networks: [] });
  using pod = new Pod();
  // As the reference plugins bridge and host-local do.
  const reservation = join(host.dataDir, 'chain', '10.90.1.2');
  mkdirSync(join(host.dataDir, 'chain'), { recursive: true });
  writeFileSync(reservation, 'pod-0\r\neth0');
  spawnSync('ip', ['-n', pod.name, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'x']);
  const chained: CallOptions = {
    pod,
    conf: {
      name: 'chain',
      prevResult: { cniVersion: '1.1.0', interfaces: [{ name: 'lo', sandbox: '/x' }], ips: [] },
    },
  };
  await must(host, 'ADD', chained);
  for (const damage of [
    (path: string) => truncateSync(path, 100),
    (path: string) => writeFileSync(path, '{}'),
  ]) {
    damage(recordOf(host, 'chain:pod-0:eth0:interface'));
    await host.service.collectGarbage();
    assert.ok(existsSync(reservation));
    assert.deepEqual(
      host.service.problems.map(({ id }) => id),
      ['pod-record-unreadable'],
    );
  }
  // The plugin before us has just reserved the address.
  await must(host, 'ADD', chained);
  assert.ok(existsSync(reservation));
  await host.service.collectGarbage();
  assert.deepEqual(host.service.problems, []);
  // In our own network, too, if the pod is to be seen.
  const own = { ...chained, conf: { ...chained.conf, name: 'cbr0' } };
  mkdirSync(join(host.dataDir, 'cbr0'), { recursive: true });
  writeFileSync(join(host.dataDir, 'cbr0', '10.90.1.2'), 'pod-0\r\neth0');
  spawnSync('ip', ['-n', pod.name, 'addr', 'add', '10.90.1.2/24', 'dev', 'eth0']);
  await must(host, 'ADD', own);
  truncateSync(recordOf(host), 100);
  await host.service.collectGarbage();
  assert.ok(existsSync(join(host.dataDir, 'cbr0', '10.90.1.2')));
});

test('damaged records of pods that are gone are collected with their addresses', async () => {
  for (const wiring of ['bridge', 'routed'] as const) {
    await using host = new Host({ wiring });
    const pod = new Pod();
    await must(host, 'ADD', { pod, ...WEB });
    truncateSync(recordOf(host), 100);
    pod[Symbol.dispose]();
    await eventually(
      'the veth is gone',
      () => !ip(host.netns, 'link').some(({ ifname }) => /^(veth|cali)/.test(ifname)),
    );
    // Until then its namespace's inode may belong to another namespace on this machine, and be in use.
    const isCollected = async () => {
      await host.service.collectGarbage();
      return leftovers(host).length === 0;
    };
    await eventually('everything of it is collected', isCollected, 30_000);
  }
});

test('folders copied from another node leave no reservations behind, and the other node alone', async () => {
  for (const wiring of ['bridge', 'routed'] as const) {
    await using origin = new Host({ wiring });
    using a = new Pod();
    using b = new Pod();
    await must(origin, 'ADD', { pod: a, id: 'a' });
    await must(origin, 'ADD', { pod: b, id: 'b' });
    const dir = mkdtempSync(join(tmpdir(), 'flatnet-cni-'));
    cpSync(origin.dir, dir, { recursive: true });
    // One of them from an earlier boot, as in a disk image.
    json((record) => ({ ...record, bootId: 'earlier' }))(
      join(dir, 'state/attachments/cbr0:b:eth0:interface.json'),
    );
    json((record) => ({ ...record, dir: join(dir, 'networks/cbr0') }))(
      join(dir, 'state/attachments/cbr0:b:eth0:interface.json'),
    );
    await using copy = new Host({ dir, wiring });
    await copy.service.collectGarbage();
    assert.deepEqual(leftovers(copy), []);
    assert.equal(copy.pods.size, 0);
    await origin.service.collectGarbage();
    assert.equal(origin.pods.size, 2);
    for (const address of ['10.90.1.2', 'fd00:90:1::3']) assert.ok(pings(origin.netns, address), address);
    assert.ok(readdirSync(join(origin.dataDir, 'cbr0')).includes('10.90.1.2'));
  }
});

test('one attachment that cannot be collected does not keep the others from it', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'], networks: [] });
  const [a, b] = [new Pod(), new Pod()];
  for (const [id, pod] of Object.entries({ a, b })) await must(host, 'ADD', { pod, id });
  json((record) => ({ ...record, dir: '/proc/version/x' }))(recordOf(host, 'cbr0:a:eth0:interface'));
  for (const pod of [a, b]) pod[Symbol.dispose]();
  await eventually(
    'the veths are gone',
    () => !ip(host.netns, 'link').some(({ ifname }) => ifname.startsWith('veth')),
  );
  await host.service.collectGarbage();
  assert.deepEqual(leftovers(host).sort(), ['10.90.1.2', 'cbr0:a:eth0:interface.json']);
  assert.match(host.warnings.join(), /collecting a: .*ENOTDIR/);
});

test('a pod that lost its record and its reservations is kept, and its DEL leaves nothing', async () => {
  for (const wiring of ['bridge', 'routed'] as const) {
    await using host = new Host({ wiring });
    using pod = new Pod();
    await must(host, 'ADD', { pod, ...WEB });
    rmSync(host.stateDir, { recursive: true });
    rmSync(host.dataDir, { recursive: true });
    await using next = new Host({ dir: host.dir, netns: host.netns, wiring });
    await next.service.collectGarbage();
    // Nothing says which container a bridge port belongs to, but it stays as it is.
    assert.equal(next.pods.size, wiring === 'routed' ? 1 : 0);
    assert.ok(pings(host.netns, '10.90.1.2'));
    if (wiring === 'routed') assert.ok(existsSync(join(next.dataDir, 'cbr0', '10.90.1.2')), 'reserved again');
    await must(next, 'DEL', { pod });
    await eventually('nothing is left', () => leftovers(next).length === 0);
  }
});

test('reservations that were lost are made again: nobody else gets the address of a pod that runs', async () => {
  await using host = new Host();
  using a = new Pod();
  using b = new Pod();
  await must(host, 'ADD', { pod: a, id: 'a' });
  rmSync(host.dataDir, { recursive: true });
  await host.service.collectGarbage();
  const { ips } = await must(host, 'ADD', { pod: b, id: 'b' });
  assert.deepEqual(
    ips.map(({ address }) => address),
    ['10.90.1.3/24', 'fd00:90:1::3/64'],
  );
  // Meanwhile another pod may have got it.
  const taken = join(host.dataDir, 'cbr0', '10.90.1.2');
  rmSync(taken);
  writeFileSync(taken, 'other\r\neth0');
  await host.service.collectGarbage();
  assert.equal(readFileSync(taken, 'utf8'), 'other\r\neth0');
  assert.match(host.warnings.join(), /a uses an address twice given.*10\.90\.1\.2 reserved for another pod/);
});
