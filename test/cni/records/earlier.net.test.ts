import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type CallOptions, Host, ip, ipOne, must, Pod } from '../host.ts';

// Records of earlier versions, which lack the MAC, and nobody kept what was asked for.

const named = (id: string, conf: object = {}): CallOptions => ({
  id,
  conf,
  env: { CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${id}` },
});

function makeEarlier(host: Host): void {
  const dir = join(host.stateDir, 'attachments');
  for (const name of readdirSync(dir).filter((each) => each.endsWith('.json'))) {
    const { mac: _, ...record } = JSON.parse(readFileSync(join(dir, name), 'utf8'));
    writeFileSync(join(dir, name), JSON.stringify(record));
  }
  rmSync(join(host.stateDir, 'requests'), { recursive: true });
  host.pods.clear();
}

const problemsOf = (host: Host) =>
  host.service.problems.map(({ id, severity, what }) => `${severity} ${id}: ${what}`);

for (const wiring of ['bridge', 'routed'] as const) {
  test(`${wiring}: a record without a MAC gets the one that its pod was given`, async () => {
    await using host = new Host({ wiring });
    using pod = new Pod();
    await must(host, 'ADD', { pod, ...named('a') });
    const { mac } = host.pods.get('a eth0') ?? {};
    await host.stop();
    makeEarlier(host);
    await using next = new Host({ dir: host.dir, netns: host.netns, wiring });
    await next.service.collectGarbage();
    assert.equal(next.pods.get('a eth0')?.mac, mac);
    assert.deepEqual(next.service.problems, []);
    // Known from now on.
    next.pods.clear();
    await next.service.collectGarbage();
    assert.equal(next.pods.size, 0);
  });

  test(`${wiring}: the MAC of a pod out of sight is the one it would have been given`, async () => {
    await using host = new Host({ wiring });
    using pod = new Pod();
    await must(host, 'ADD', { pod, ...named('a') });
    const { mac, hostDevice = '' } = host.pods.get('a eth0') ?? {};
    makeEarlier(host);
    execFileSync('ip', ['-n', host.netns, 'neigh', 'flush', 'all']);
    const path = join(host.stateDir, 'attachments', 'cbr0:a:eth0:interface.json');
    const record = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, JSON.stringify({ ...record, netns: '/run/netns/gone' }));
    for (let run = 0; run < 2; run++) {
      await host.service.collectGarbage();
      assert.equal(host.pods.get('a eth0')?.mac, mac);
      assert.deepEqual(problemsOf(host), [
        `error pod-identity-unknown: the MAC of default/a at ${hostDevice} is not known`,
      ]);
    }
  });

  test(`${wiring}: the MAC that a pod asked for is believed unless it is another’s`, async () => {
    await using host = new Host({ wiring });
    using a = new Pod();
    using b = new Pod();
    await must(host, 'ADD', { pod: a, ...named('a', { runtimeConfig: { mac: '02:11:22:33:44:55' } }) });
    await must(host, 'ADD', { pod: b, ...named('b') });
    const known = new Map(host.pods);
    makeEarlier(host);
    const device = wiring === 'bridge' ? 'cni0' : (known.get('a eth0')?.hostDevice ?? '');
    execFileSync('ip', [
      ...['-n', b.name, 'link', 'set', 'eth0', 'address'],
      ipOne(host.netns, 'link', 'show', 'dev', device).address,
    ]);
    await host.service.collectGarbage();
    assert.equal(host.pods.get('a eth0')?.mac, '02:11:22:33:44:55');
    assert.equal(host.pods.get('b eth0')?.mac, known.get('b eth0')?.mac);
    assert.deepEqual(problemsOf(host), [
      `warning pod-identity-unknown: the MAC of default/a at ${known.get('a eth0')?.hostDevice} is not known`,
      `error pod-identity-unknown: the MAC of default/b at ${known.get('b eth0')?.hostDevice} is not known`,
    ]);
  });
}

test('on a disk that is full or read-only, pods get their MACs nevertheless', async () => {
  for (const state of ['full', 'read-only'] as const) {
    const disk = mkdtempSync(join(tmpdir(), 'flatnet-disk-'));
    const dir = join(disk, 'host');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk]);
    mkdirSync(dir);
    try {
      await using host = new Host({ dir });
      using pod = new Pod();
      using lost = new Pod();
      await must(host, 'ADD', { pod, ...named('a') });
      await must(host, 'ADD', { pod: lost, ...named('b') });
      const known = [...host.pods.values()];
      await host.stop();
      makeEarlier(host);
      rmSync(join(host.stateDir, 'attachments', 'cbr0:b:eth0:interface.json'));
      if (state === 'read-only') execFileSync('mount', ['-o', 'remount,ro', disk]);
      else execFileSync('sh', ['-c', `cat /dev/zero > ${join(disk, 'filler')} || true`], { stdio: 'ignore' });
      await using next = new Host({ dir, netns: host.netns });
      await next.service.collectGarbage();
      assert.deepEqual(
        [...next.pods.values()].toSorted((x, y) => x.containerId.localeCompare(y.containerId)),
        known,
      );
      assert.match(next.warnings.join('\n'), state === 'full' ? /ENOSPC/ : /EROFS/);
      if (state === 'read-only') execFileSync('mount', ['-o', 'remount,rw', disk]);
      assert.equal(ip(next.netns, 'link').filter(({ ifname }) => ifname.startsWith('veth')).length, 2);
    } finally {
      execFileSync('umount', ['-l', disk]);
      rmSync(disk, { recursive: true });
    }
  }
});
