import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { withNetns } from '../../src/linux/netns.ts';
import { readSysctl } from '../../src/linux/sysctl.ts';
import { type Answer, type CallOptions, call, eventually, Host, ip, Pod } from './host.ts';
import { NO_REFERENCE, reference } from './reference.ts';

type Json = Record<string, unknown>;

const BASE = { cniVersion: '1.0.0', name: 'net', type: 'bridge', bridge: 'br7' };
const V4 = { type: 'host-local', ranges: [[{ subnet: '10.7.0.0/24' }]] };
const DUAL = { type: 'host-local', ranges: [[{ subnet: '10.7.0.0/24' }], [{ subnet: 'fd00:7::/64' }]] };

/** Configurations that both must treat alike. */
const CONFS: Record<string, Json> = {
  'addresses only': { ipam: V4 },
  'a gateway': { isGateway: true, ipam: V4 },
  'a default gateway, dual stack': { isDefaultGateway: true, ipam: DUAL },
  'as flannel writes it': {
    hairpinMode: true,
    isDefaultGateway: true,
    isGateway: true,
    mtu: 1450,
    ipam: { ...V4, routes: [{ dst: '10.0.0.0/8' }] },
  },
  'routes with and without gateway': {
    isGateway: true,
    ipam: { ...V4, routes: [{ dst: '0.0.0.0/0' }, { dst: '192.0.2.0/24', gw: '10.7.0.9' }] },
  },
  'a default route of its own beside isDefaultGateway': {
    isDefaultGateway: true,
    ipam: { ...V4, routes: [{ dst: '0.0.0.0/0', gw: '10.7.0.9' }] },
  },
  'a range, a gateway and the old keys': {
    isGateway: true,
    ipam: {
      type: 'host-local',
      subnet: '10.7.0.0/16',
      rangeStart: '10.7.3.10',
      rangeEnd: '10.7.3.20',
      gateway: '10.7.3.1',
    },
  },
  'promiscuous mode': { promiscMode: true, isGateway: true, ipam: V4 },
  'an MTU': { mtu: 1400, ipam: V4 },
  'a MAC and an address asked for': {
    isGateway: true,
    ipam: V4,
    runtimeConfig: { mac: '02:aa:bb:cc:dd:ee', ips: ['10.7.0.77'] },
  },
  'ranges asked for': {
    isGateway: true,
    ipam: { type: 'host-local' },
    runtimeConfig: { ipRanges: [[{ subnet: '10.8.0.0/24' }]] },
  },
  DNS: { ipam: V4, dns: { nameservers: ['10.0.0.10'], search: ['svc.local'] } },
  'no addresses at all': {},
  'result 0.2.0': { cniVersion: '0.2.0', isDefaultGateway: true, ipam: V4 },
  'result 0.3.1': { cniVersion: '0.3.1', isDefaultGateway: true, ipam: DUAL },
  'result 0.4.0': { cniVersion: '0.4.0', isDefaultGateway: true, ipam: V4 },
};

/** Replaces what necessarily differs: names of veths, MACs, namespaces, indexes. */
function neutral(value: unknown, replace: Record<string, string>): unknown {
  let text = JSON.stringify(value);
  for (const [from, to] of Object.entries(replace)) text = text.replaceAll(from, to);
  return JSON.parse(
    text.replaceAll(/([0-9a-f]{2}:){5}[0-9a-f]{2}/g, 'MAC').replaceAll(/veth[0-9a-f]+/g, 'VETH'),
  );
}

/** The part of the kernel's state that a configuration determines. */
function kernel(netns: string, conf: Json): unknown {
  const links = ip(netns, 'addr').map((link) => ({
    name: link.ifname,
    mtu: link.mtu,
    up: link.flags.includes('UP'),
    promisc: link.flags.includes('PROMISC'),
    master: link.master,
    kind: link.linkinfo?.info_kind,
    hairpin: link.linkinfo?.info_slave_data?.hairpin,
    mac: (conf.runtimeConfig as Json)?.mac && link.ifname === 'eth0' ? link.address : undefined,
    addresses: link.addr_info
      .filter(({ scope }) => scope === 'global')
      // `tentative` is ignored: the reference waits for duplicate address detection, we disable it.
      .map(({ local, prefixlen, broadcast }) => ({ local, prefixlen, broadcast })),
  }));
  const routes = ['-4', '-6'].flatMap((family) =>
    ip(netns, family, 'route').map(({ dst, gateway, dev, protocol, scope, prefsrc, metric }) => ({
      dst,
      gateway,
      dev,
      protocol,
      scope,
      prefsrc,
      metric,
    })),
  );
  // With the reference the host's veth ends have link-local addresses, which they do not need.
  const own = routes.filter(({ dst }) => dst !== 'fe80::/64');
  const forwarding = withNetns(`/run/netns/${netns}`, () => readSysctl('net/ipv4/ip_forward'));
  return { links, routes: own, forwarding };
}

function files(dir: string): Record<string, string> {
  if (!existsSync(dir)) return {};
  const names = readdirSync(dir, { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && !/^(lock$|\.spare-)/.test(entry.name),
  );
  return Object.fromEntries(
    names.map(({ parentPath, name }) => [name, readFileSync(join(parentPath, name), 'utf8')]),
  );
}

type Side = {
  readonly host: Host;
  readonly pod: Pod;
  readonly run: (command: string, conf: Json) => Promise<Answer> | Answer;
};

async function both(work: (sides: readonly [Side, Side]) => Promise<void>): Promise<void> {
  await using ours = new Host();
  await using theirs = new Host();
  using ourPod = new Pod();
  using theirPod = new Pod();
  const withDir = (host: Host, conf: Json) =>
    conf.ipam ? { ...BASE, ...conf, ipam: { ...conf.ipam, dataDir: host.dataDir } } : { ...BASE, ...conf };
  await work([
    {
      host: ours,
      pod: ourPod,
      run: (command, conf) => call(ours, command, { pod: ourPod, conf: withDir(ours, conf) }),
    },
    {
      host: theirs,
      pod: theirPod,
      run: (command, conf) =>
        reference(theirs, 'bridge', command, { pod: theirPod, conf: withDir(theirs, conf) }),
    },
  ]);
}

async function compare<T>(
  sides: readonly [Side, Side],
  what: string,
  look: (side: Side) => Promise<T> | T,
): Promise<void> {
  const [ours, theirs] = [await look(sides[0]), await look(sides[1])];
  assert.deepEqual(ours, theirs, what);
}

describe('the same configuration as the reference bridge + host-local', { skip: NO_REFERENCE }, () => {
  for (const [what, conf] of Object.entries(CONFS)) {
    test(what, () =>
      both(async (sides) => {
        const results: unknown[] = [];
        await compare(sides, 'result of ADD', async ({ pod, run }) => {
          const { exit, out } = await run('ADD', conf);
          assert.equal(exit, 0, JSON.stringify(out));
          results.push(out);
          return normalResult(neutral(out, { [pod.path]: 'NETNS' }) as Json);
        });
        await compare(sides, 'the pod’s kernel state', ({ pod }) => neutral(kernel(pod.name, conf), {}));
        await compare(sides, 'the node’s kernel state', ({ host }) => neutral(kernel(host.netns, conf), {}));
        if (conf.ipam) await compare(sides, 'files', ({ host }) => files(host.dataDir));
        if (!String(conf.cniVersion ?? '1.0.0').match(/^0\.[123]/)) {
          // The reference's answer is not compared: 1.1.1 fails on hairpin mode and without addresses.
          const check = await sides[0].run('CHECK', { ...conf, prevResult: results[0] });
          assert.deepEqual(check, { exit: 0, out: undefined });
        }
        if (conf.ipam) await compare(sides, 'second ADD', async ({ run }) => (await run('ADD', conf)).exit);
        await compare(sides, 'DEL', ({ run }) => run('DEL', conf));
        await compare(sides, 'DEL again', ({ run }) => run('DEL', conf));
        if (conf.ipam) await compare(sides, 'files after DEL', ({ host }) => files(host.dataDir));
        await eventually(
          'our links are gone',
          () => ip(sides[0].host.netns, 'link').length === ip(sides[1].host.netns, 'link').length,
        );
        await compare(sides, 'the node after DEL', ({ host }) => neutral(kernel(host.netns, conf), {}));
        await compare(sides, 'the pod after DEL', ({ pod }) => neutral(kernel(pod.name, conf), {}));
      }),
    );
  }

  const REFUSED: Record<string, Json> = {
    'another address on the bridge': {
      isGateway: true,
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.9.0.0/24' }]] },
    },
    'hairpin and promiscuous at once': { hairpinMode: true, promiscMode: true, ipam: V4 },
    'no ranges': { ipam: { type: 'host-local' } },
    'a network with host bits': { ipam: { type: 'host-local', ranges: [[{ subnet: '10.7.0.1/24' }]] } },
    'a requested address outside': { ipam: V4, runtimeConfig: { ips: ['10.99.0.1'] } },
  };
  for (const [what, conf] of Object.entries(REFUSED)) {
    test(`both refuse: ${what}`, () =>
      both(async (sides) => {
        if (what.startsWith('another')) {
          for (const { host } of sides) {
            ip(host.netns, 'link', 'add', 'br7', 'type', 'bridge');
            ip(host.netns, 'addr', 'add', '10.8.0.1/24', 'dev', 'br7');
          }
        }
        await compare(sides, 'exit status', async ({ run }) => (await run('ADD', conf)).exit);
        assert.equal(ip(sides[0].pod.name, 'link').length, 1, 'nothing is left in the pod');
        const left = ({ host }: Side) =>
          Object.keys(files(host.dataDir)).filter((name) => !name.startsWith('last'));
        assert.deepEqual(left(sides[0]), []);
      }));
  }

  test('forceAddress replaces the bridge’s addresses', () =>
    both(async (sides) => {
      for (const { host } of sides) {
        ip(host.netns, 'link', 'add', 'br7', 'type', 'bridge');
        ip(host.netns, 'addr', 'add', '10.8.0.1/24', 'dev', 'br7');
      }
      const conf = { isGateway: true, forceAddress: true, ipam: V4 };
      await compare(sides, 'exit status', async ({ run }) => (await run('ADD', conf)).exit);
      await compare(sides, 'node', ({ host }) => neutral(kernel(host.netns, conf), {}));
    }));

  test('invalid calls are refused with the same code', async () => {
    await using host = new Host();
    using pod = new Pod();
    const cases: readonly CallOptions[] = [
      { id: 'a/b' },
      { id: '' },
      { ifName: 'a:b' },
      { ifName: '..' },
      { ifName: 'sixteencharacter' },
      { env: { CNI_COMMAND: 'FOO' } },
      { env: { CNI_PATH: '' } },
      { env: { CNI_NETNS: '', CNI_IFNAME: '' } },
      { conf: { name: '' } },
      { conf: { name: 'a b' } },
      { conf: { cniVersion: '9.9.9' } },
      { conf: { cniVersion: 7 } },
      { conf: { cniVersion: '0.3.1' }, env: { CNI_COMMAND: 'CHECK' } },
    ];
    for (const options of cases) {
      const full = { pod, ...options, conf: { ...BASE, ipam: V4, ...options.conf } };
      const [ours, theirs] = [await call(host, 'ADD', full), reference(host, 'bridge', 'ADD', full)];
      const shown = ({ exit, out }: Answer) => ({ exit, code: out?.code });
      assert.deepEqual(shown(ours), shown(theirs), JSON.stringify(options));
    }
  });

  test('loopback: same result, same state', async () => {
    await using host = new Host();
    using ours = new Pod();
    using theirs = new Pod();
    const options = { ifName: 'lo', conf: { type: 'loopback', cniVersion: '1.0.0', name: 'cni-loopback' } };
    for (const command of ['ADD', 'DEL', 'DEL']) {
      const answers = [
        await call(host, command, { ...options, pod: ours }),
        reference(host, 'loopback', command, { ...options, pod: theirs }),
      ];
      const [a, b] = answers.map(({ exit, out }) =>
        neutral({ exit, out: normalResult(out ?? {}) }, { [ours.path]: 'NETNS', [theirs.path]: 'NETNS' }),
      );
      assert.deepEqual(a, b, command);
      assert.deepEqual(kernel(ours.name, {}), kernel(theirs.name, {}), command);
    }
  });

  test('each deletes pods created by the other', () =>
    both(async ([ours, theirs]) => {
      const conf = { isDefaultGateway: true, ipam: V4 };
      const swapped = async (host: Host, pod: Pod, add: 'us' | 'it') => {
        const options = {
          pod,
          id: 'swap',
          conf: { ...BASE, ...conf, ipam: { ...V4, dataDir: host.dataDir } },
        };
        const it = (command: string) => reference(host, 'bridge', command, options);
        const us = (command: string) => call(host, command, options);
        const added = add === 'us' ? await us('ADD') : it('ADD');
        assert.equal(added.exit, 0);
        const deleted = add === 'us' ? it('DEL') : await us('DEL');
        assert.deepEqual(deleted, { exit: 0, out: undefined });
        await eventually('the veth is gone', () => ip(pod.name, 'link').length === 1);
        assert.deepEqual(Object.keys(files(host.dataDir)), ['last_reserved_ip.0']);
      };
      await swapped(ours.host, ours.pod, 'it');
      await swapped(theirs.host, theirs.pod, 'us');
    }));
});

/**
 * Removes differences without meaning: Go prints an empty dns in every version, and the reference predates
 * MTUs in results.
 */
function normalResult(result: Json): Json {
  const { dns, interfaces, ...rest } = result;
  const links = (interfaces as Json[] | undefined)?.map(({ mtu: _mtu, ...link }) => link);
  return {
    ...rest,
    ...(links ? { interfaces: links } : {}),
    ...(dns && Object.keys(dns).length ? { dns } : {}),
  };
}
