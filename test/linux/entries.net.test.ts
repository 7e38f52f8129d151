import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr, parsePrefixed } from '../../src/ip/cidr.ts';
import { parseMac } from '../../src/ip/mac.ts';
import {
  addressDelete,
  addressDump,
  addressReplace,
  IFA_F_NODAD,
  IFA_F_TENTATIVE,
} from '../../src/linux/address.ts';
import { fdbDelete, fdbDump, fdbReplace } from '../../src/linux/fdb.ts';
import { linkAdd } from '../../src/linux/link/change.ts';
import { linkGet } from '../../src/linux/link/link.ts';
import { neighbourDelete, neighbourDump, neighbourReplace } from '../../src/linux/neighbour.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { ruleAdd, ruleDelete, ruleDump } from '../../src/linux/rule.ts';
import { fdbAppend, IFA_F_NOPREFIXROUTE, IFA_F_PERMANENT, NUD_NOARP } from './beyond.ts';
import { kernelTest, sandbox } from './sandbox.ts';

const ip = parseIp;
const mac = parseMac;

async function withVxlan(t: TestContext) {
  const box = sandbox(t);
  const socket = NetlinkSocket.open(NETLINK_ROUTE, { netns: box.netns });
  t.after(() => socket.close());
  await socket.execute(linkAdd({ name: 'u0', up: true, addrGenMode: 'none', data: { kind: 'bridge' } }));
  const { index: u0 } = await socket.get(linkGet('u0'));
  const data = { kind: 'vxlan', id: 1, dev: u0, local: ip('10.0.0.1'), port: 8472, learning: false } as const;
  await socket.execute(linkAdd({ name: 'flannel.1', up: true, addrGenMode: 'none', data }));
  const { index: vxlan } = await socket.get(linkGet('flannel.1'));
  return { ...box, socket, u0, vxlan };
}

kernelTest('addresses match `ip address`', async (t) => {
  const { socket, json, u0, vxlan } = await withVxlan(t);
  const wanted = [
    { dev: u0, address: parsePrefixed('10.0.0.1/24'), broadcast: ip('10.0.0.255') },
    { dev: u0, address: parsePrefixed('10.0.9.1/24'), flags: IFA_F_NOPREFIXROUTE, label: 'u0:x', scope: 253 },
    { dev: vxlan, address: parsePrefixed('10.244.0.0/32') },
    { dev: vxlan, address: parsePrefixed('fd00::/128'), flags: IFA_F_NODAD },
    { dev: u0, address: parsePrefixed('10.5.0.1/32'), peer: ip('10.5.0.2') },
  ];
  await socket.execute(wanted.map(addressReplace));
  await socket.execute(wanted.map(addressReplace));
  const dumped = await socket.dump(addressDump());
  assert.equal(dumped.length, wanted.length);
  for (const { dev, address, peer, broadcast, scope, flags = 0 } of wanted) {
    const match = dumped.find((entry) => entry.dev === dev && entry.address === address);
    assert.deepEqual(
      [match?.peer, match?.broadcast, match?.scope, match?.flags],
      [peer, broadcast, scope ?? 0, flags | IFA_F_PERMANENT],
    );
  }
  type Shown = { addr_info: { local: string; prefixlen: number; noprefixroute?: boolean; label?: string }[] };
  const shown = (json('ip', '-j', 'address') as Shown[]).flatMap((link) => link.addr_info);
  assert.deepEqual(
    shown
      .map(({ local, prefixlen, noprefixroute = false }) => [`${local}/${prefixlen}`, noprefixroute])
      .sort(),
    [
      ['10.0.0.1/24', false],
      ['10.0.9.1/24', true],
      ['10.244.0.0/32', false],
      ['10.5.0.1/32', false],
      ['fd00::/128', false],
    ],
  );
  assert.equal((await socket.dump(addressDump(6))).length, 1);
  assert.equal((await socket.dump(addressDump(undefined, vxlan))).length, 2);
  assert.equal((await socket.dump(addressDump(4, 4242))).length, 0);
  await socket.execute(wanted.map(addressDelete));
  assert.deepEqual(await socket.dump(addressDump()), []);
  const [missing] = await socket.executeAll([
    addressDelete({ dev: u0, address: parsePrefixed('10.0.0.1/24') }),
  ]);
  assert.equal(missing?.errno, 'EADDRNOTAVAIL');
});

kernelTest('IFA_F_NODAD makes an IPv6 address usable immediately', async (t) => {
  const { socket, vxlan } = await withVxlan(t);
  await socket.execute([
    addressReplace({ dev: vxlan, address: parsePrefixed('fd00::1/64'), flags: IFA_F_NODAD }),
    addressReplace({ dev: vxlan, address: parsePrefixed('fd00::2/64') }),
  ]);
  const tentative = (await socket.dump(addressDump(6))).map(({ address, flags = 0 }) => [
    address,
    (flags & IFA_F_TENTATIVE) !== 0,
  ]);
  assert.deepEqual(tentative.sort(), [
    ['fd00::1/64', false],
    ['fd00::2/64', true],
  ]);
});

kernelTest('neighbours match `ip neighbour`', async (t) => {
  const { socket, json, u0, vxlan } = await withVxlan(t);
  await socket.execute([
    neighbourReplace({ dev: vxlan, ip: ip('10.244.1.0'), mac: mac('12:c6:65:89:b4:e3') }),
    neighbourReplace({ dev: vxlan, ip: ip('fd01::'), mac: mac('12:c6:65:89:b4:e4') }),
    neighbourReplace({ dev: u0, ip: ip('10.0.0.9'), mac: mac('12:c6:65:89:b4:e5'), state: NUD_NOARP }),
  ]);
  await socket.execute([
    neighbourReplace({ dev: vxlan, ip: ip('10.244.1.0'), mac: mac('12:c6:65:89:b4:ff') }),
  ]);
  const shown = [
    ...json('ip', '-j', 'neighbour', 'show', 'dev', 'flannel.1'),
    ...json('ip', '-6', '-j', 'neighbour', 'show', 'dev', 'flannel.1'),
  ];
  assert.deepEqual(shown.slice(0, 2), [
    { dst: '10.244.1.0', lladdr: '12:c6:65:89:b4:ff', state: ['PERMANENT'] },
    { dst: 'fd01::', lladdr: '12:c6:65:89:b4:e4', state: ['PERMANENT'] },
  ]);
  const permanent = (await socket.dump(neighbourDump({ dev: vxlan }))).filter(({ state }) => state === 0x80);
  assert.deepEqual(permanent.map(({ ip, mac }) => `${ip} ${mac}`).sort(), [
    '10.244.1.0 12:c6:65:89:b4:ff',
    'fd01:: 12:c6:65:89:b4:e4',
  ]);
  assert.deepEqual(
    (await socket.dump(neighbourDump({ dev: u0, family: 4 })))
      .filter(({ ip }) => !ip.startsWith('224.'))
      .map(({ ip, state }) => [ip, state]),
    [['10.0.0.9', NUD_NOARP]],
  );
  const gone = { dev: u0, ip: ip('10.0.0.9') };
  assert.deepEqual(
    (await socket.executeAll([neighbourDelete(gone), neighbourDelete({ dev: u0, ip: ip('10.0.0.8') })])).map(
      (answer) => answer?.errno,
    ),
    [undefined, 'ENOENT'],
  );
});

kernelTest('FDB entries of a vxlan device match `bridge fdb`', async (t) => {
  const { socket, json, vxlan } = await withVxlan(t);
  const zero = mac('00:00:00:00:00:00');
  const peer = { dev: vxlan, mac: mac('12:c6:65:89:b4:e3') };
  await socket.execute([
    fdbReplace({ ...peer, dst: ip('192.168.64.3') }),
    fdbReplace({ ...peer, dst: ip('192.168.64.4') }),
    fdbAppend({ dev: vxlan, mac: zero, dst: ip('10.0.0.3'), port: 4789, vni: 7 }),
    fdbAppend({ dev: vxlan, mac: zero, dst: ip('10.0.0.4') }),
  ]);
  const shown = json('bridge', '-j', 'fdb', 'show', 'dev', 'flannel.1');
  assert.deepEqual(
    shown.map((entry) => [entry.mac, entry.dst, entry.port, entry.vni, entry.state, entry.flags]).sort(),
    [
      [zero, '10.0.0.3', 4789, 7, 'permanent', ['self']],
      [zero, '10.0.0.4', undefined, undefined, 'permanent', ['self']],
      [peer.mac, '192.168.64.4', undefined, undefined, 'permanent', ['self']],
    ],
  );
  const dumped = await socket.dump(fdbDump(vxlan));
  assert.deepEqual(dumped.map(({ mac, dst, port, vni }) => [mac, dst, port, vni]).sort(), [
    [zero, '10.0.0.3', 4789, 7],
    [zero, '10.0.0.4', undefined, undefined],
    [peer.mac, '192.168.64.4', undefined, undefined],
  ]);
  await socket.execute([fdbDelete(peer), fdbDelete({ dev: vxlan, mac: zero, dst: ip('10.0.0.4') })]);
  assert.deepEqual(
    (await socket.dump(fdbDump(vxlan))).map(({ dst }) => dst),
    ['10.0.0.3'],
  );
  assert.equal((await socket.executeAll([fdbDelete(peer)]))[0]?.errno, 'ENOENT');
  assert.deepEqual(await socket.dump(fdbDump(4242)), []);
});

kernelTest('rules match `ip rule`', async (t) => {
  const { socket, json } = await withVxlan(t);
  const from = parseCidr('10.0.0.0/24');
  const rules = [
    {
      family: 4,
      priority: 100,
      from,
      to: parseCidr('10.1.0.0/16'),
      iif: 'u0',
      mark: 0x4000,
      mask: 0x4000,
      table: 300,
    },
    { family: 4, priority: 101, action: 'unreachable', from, invert: true },
    { family: 6, priority: 99, table: 254, suppressPrefixLength: 0, protocol: 110 },
  ] as const;
  await socket.execute(rules.map(ruleAdd));
  assert.deepEqual(
    (await socket.executeAll(rules.map(ruleAdd))).map((answer) => answer?.errno),
    ['EEXIST', 'EEXIST', 'EEXIST'],
  );
  const shown = [...json('ip', '-j', 'rule'), ...json('ip', '-6', '-j', 'rule')];
  const at = (priority: number): unknown => shown.find((rule) => rule.priority === priority);
  assert.deepEqual(at(100), {
    priority: 100,
    src: '10.0.0.0',
    srclen: 24,
    dst: '10.1.0.0',
    dstlen: 16,
    fwmark: '0x4000',
    fwmask: '0x4000',
    iif: 'u0',
    table: '300',
  });
  assert.deepEqual(at(99), {
    priority: 99,
    src: 'all',
    table: 'main',
    suppress_prefixlen: 0,
    protocol: '110',
  });
  const dumped = [...(await socket.dump(ruleDump(4))), ...(await socket.dump(ruleDump(6)))];
  for (const rule of rules) {
    const match = dumped.find(({ priority }) => priority === rule.priority);
    assert.deepEqual({ ...match, ...rule }, match);
  }
  await socket.execute(rules.map(ruleDelete));
  assert.deepEqual(
    (await socket.executeAll(rules.map(ruleDelete))).map((answer) => answer?.errno),
    ['ENOENT', 'ENOENT', 'ENOENT'],
  );
});
