import assert from 'node:assert/strict';
import fs from 'node:fs';
import { parseIp } from '../../../src/ip/address.ts';
import { parseMac } from '../../../src/ip/mac.ts';
import { linkAdd, linkDelete, linkDeleteGroup, linkSet } from '../../../src/linux/link/change.ts';
import { linkDump, linkGet } from '../../../src/linux/link/link.ts';
import type { Vxlan } from '../../../src/linux/link/vxlan.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../../src/linux/netlink/socket.ts';
import { openNetns } from '../../../src/linux/netns.ts';
import { kernelTest, sandbox } from '../sandbox.ts';

type IpLink = {
  ifname: string;
  mtu: number;
  address: string;
  group: string;
  master?: string;
  ifalias?: string;
  flags: string[];
  linkinfo?: {
    info_kind?: string;
    info_data?: Record<string, unknown>;
    info_slave_data?: Record<string, unknown>;
  };
  inet6_addr_gen_mode?: string;
};

kernelTest('a bridge, a vxlan device and a veth pair match `ip -d link`', async (t) => {
  const { netns, json } = sandbox(t);
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  const mac = parseMac('02:00:00:00:00:01');
  await socket.execute(
    linkAdd({
      name: 'cni0',
      mac,
      mtu: 1400,
      alias: 'flatnet test',
      addrGenMode: 'none',
      up: true,
      data: { kind: 'bridge', multicastSnooping: false, ageingTime: 12_000 },
    }),
  );
  const bridge = await socket.get(linkGet('cni0'));
  await socket.execute([
    ...linkAdd({
      name: 'veth0',
      master: bridge.index,
      group: 7,
      mtu: 1400,
      up: true,
      port: { hairpin: true, isolated: true },
      data: { kind: 'veth', peer: { name: 'veth1', mac: parseMac('02:00:00:00:00:02'), mtu: 1400 } },
    }),
    ...linkAdd({
      name: 'flannel.1',
      up: true,
      mtu: 1350,
      mac: parseMac('02:00:00:00:00:03'),
      data: {
        kind: 'vxlan',
        id: 1,
        dev: bridge.index,
        local: parseIp('10.0.0.1'),
        port: 8472,
        learning: false,
        udpChecksum: false,
        gbp: true,
        proxy: true,
        l2miss: true,
        l3miss: true,
      },
    }),
  ]);

  const shown = new Map((json('ip', '-d', '-j', 'link') as IpLink[]).map((link) => [link.ifname, link]));
  const cni0 = shown.get('cni0');
  assert.equal(cni0?.address, mac);
  assert.equal(cni0.mtu, 1400);
  assert.equal(cni0.ifalias, 'flatnet test');
  assert.equal(cni0.inet6_addr_gen_mode, 'none');
  assert.equal(cni0.linkinfo?.info_data?.mcast_snooping, 0);
  assert.equal(cni0.linkinfo.info_data.ageing_time, 12_000);
  assert.ok(cni0.flags.includes('UP'));
  const veth = shown.get('veth0');
  assert.deepEqual([veth?.master, veth?.group, veth?.mtu], ['cni0', '7', 1400]);
  assert.equal(veth?.linkinfo?.info_slave_data?.hairpin, true);
  assert.equal(veth.linkinfo.info_slave_data.isolated, true);
  assert.equal(shown.get('veth1')?.address, '02:00:00:00:00:02');
  const { label: _, ...vxlan } = shown.get('flannel.1')?.linkinfo?.info_data ?? {};
  assert.deepEqual(
    [vxlan.id, vxlan.link, vxlan.local, vxlan.port, vxlan.learning, vxlan.udp_csum, vxlan.gbp, vxlan.proxy],
    [1, 'cni0', '10.0.0.1', 8472, false, false, true, true],
  );

  const dumped = await socket.dump(linkDump());
  for (const link of dumped) {
    const oracle = shown.get(link.name);
    assert.deepEqual(
      [link.mtu, link.mac, link.alias, link.up, link.running, link.kind],
      [
        oracle?.mtu,
        oracle?.address,
        oracle?.ifalias,
        oracle?.flags.includes('UP'),
        oracle?.flags.includes('LOWER_UP'),
        oracle?.linkinfo?.info_kind,
      ],
    );
  }
  assert.equal(dumped.length, shown.size);
  const port = dumped.find(({ name }) => name === 'veth0');
  assert.equal(port?.master, bridge.index);
  assert.deepEqual(port.port, {
    forwarding: true,
    hairpin: true,
    isolated: true,
    learning: true,
    flood: true,
    multicastFlood: true,
    broadcastFlood: true,
    locked: false,
    neighbourSuppression: false,
    proxyArp: false,
    bpduGuard: false,
    rootBlock: false,
    vlanTunnel: false,
  });
  assert.equal(port.linkIndex, dumped.find(({ name }) => name === 'veth1')?.index);
  assert.deepEqual(
    (await socket.dump(linkDump({ kind: 'vxlan' }))).map(({ name }) => name),
    ['flannel.1'],
  );
  assert.deepEqual(
    (await socket.dump(linkDump({ master: bridge.index }))).map(({ name }) => name),
    ['veth0'],
  );
});

kernelTest(
  'changes: those of any link, and those of a vxlan device that the kernel accepts in place',
  async (t) => {
    const { netns } = sandbox(t);
    using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    await socket.execute([
      ...linkAdd({ name: 'u0', up: true, data: { kind: 'bridge' } }),
      ...linkAdd({ name: 'br0', up: true, data: { kind: 'bridge' } }),
      ...linkAdd({ name: 'v0', data: { kind: 'veth', peer: { name: 'v1' } } }),
    ]);
    const index = new Map((await socket.dump(linkDump())).map(({ name, index }) => [name, index]));
    const [u0 = 0, br0 = 0, v0 = 0] = ['u0', 'br0', 'v0'].map((name) => index.get(name));
    await socket.execute(
      linkSet(v0, { name: 'w0', up: true, mtu: 1300, alias: 'one', master: br0, port: { hairpin: true } }),
    );
    const changed = await socket.get(linkGet('w0'));
    assert.deepEqual(
      [changed.up, changed.mtu, changed.alias, changed.master, changed.port?.hairpin],
      [true, 1300, 'one', br0, true],
    );
    await socket.execute(linkSet(v0, { alias: '', master: 0, up: false }));
    const back = await socket.get(linkGet(v0));
    assert.deepEqual([back.up, back.alias, back.master, back.port], [false, undefined, undefined, undefined]);

    const data = {
      kind: 'vxlan',
      id: 5,
      dev: u0,
      local: parseIp('10.0.0.1'),
      port: 8472,
      learning: false,
    } as const;
    await socket.execute(linkAdd({ name: 'x5', up: true, data }));
    const { index: x5 } = await socket.get(linkGet('x5'));
    const attempt = async (change: Parameters<typeof linkSet>[1]): Promise<string> => {
      const answers = await socket.executeAll(linkSet(x5, change));
      return answers.map((answer) => answer?.errno ?? 'done').join();
    };
    const vxlan = (change: Partial<Vxlan>): Promise<string> =>
      attempt({ data: { kind: 'vxlan', ...change } });
    assert.equal(await vxlan({ local: parseIp('10.0.0.2') }), 'done');
    assert.equal(await vxlan({ learning: true, id: 5 }), 'done');
    assert.equal(await vxlan({ ttl: 9, ageing: 60 }), 'done');
    assert.equal(await vxlan({ dev: br0 }), 'done');
    assert.equal(await attempt({ mtu: 1300 }), 'done');
    assert.equal(await attempt({ mac: parseMac('02:00:00:00:00:09') }), 'done');
    const fixed: Partial<Vxlan>[] = [
      { id: 6 },
      { port: 8472 },
      { gbp: true },
      { udpChecksum: false },
      { udp6ZeroChecksumRx: true },
      { proxy: true },
      { l2miss: true },
      { l3miss: true },
      { collectMetadata: true },
    ];
    for (const change of fixed) assert.equal(await vxlan(change), 'EOPNOTSUPP', JSON.stringify(change));
    await assert.rejects(
      socket.execute(linkSet(x5, { data: { kind: 'vxlan', id: 6 } })),
      /Cannot change VNI/,
    );
    const now = await socket.get(linkGet(x5));
    assert.equal(now.data?.kind, 'vxlan');
    assert.deepEqual(
      now.data.kind === 'vxlan' && [now.data.local, now.data.learning, now.data.dev, now.mtu, now.mac],
      ['10.0.0.2', true, br0, 1300, '02:00:00:00:00:09'],
    );
  },
);

kernelTest('a veth whose other end is created in another namespace', async (t) => {
  const host = sandbox(t);
  const pod = sandbox(t);
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns: host.netns });
  const target = openNetns(pod.netns);
  t.after(() => fs.closeSync(target));
  const mac = parseMac('02:00:00:00:00:07');
  await socket.execute(
    linkAdd({
      name: 'host0',
      up: true,
      data: { kind: 'veth', peer: { name: 'eth0', mac, mtu: 1450, netns: target } },
    }),
  );
  using inside = NetlinkSocket.open(NETLINK_ROUTE, { netns: target });
  const eth0 = await inside.get(linkGet('eth0'));
  assert.deepEqual([eth0.mac, eth0.mtu, eth0.up], [mac, 1450, false]);
  await inside.execute(linkSet(eth0.index, { up: true }));
  const host0 = await socket.get(linkGet('host0'));
  assert.equal(host0.running, true);
  assert.equal(host0.linkIndex, eth0.index);
  assert.equal(typeof host0.netnsId, 'number');
  await socket.execute([linkDelete(host0.index)]);
  await assert.rejects(inside.get(linkGet('eth0')), { code: 'NETLINK', errno: 'ENODEV', object: 'eth0' });
});

kernelTest('a veth with one queue at each end', async (t) => {
  const { netns, run } = sandbox(t);
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  const data = { kind: 'veth', peer: { name: 'v1', queues: 1 } } as const;
  await socket.execute(linkAdd({ name: 'v0', queues: 1, data }));
  for (const name of ['v0', 'v1']) {
    const [shown] = JSON.parse(run('ip', '-j', '-d', 'link', 'show', name));
    assert.deepEqual([shown.num_tx_queues, shown.num_rx_queues], [1, 1], name);
  }
});

kernelTest('deleting one link, a whole group, and a missing link', async (t) => {
  const { netns } = sandbox(t);
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  const names = Array.from({ length: 20 }, (_, i) => `v${i}`);
  await socket.execute(
    names.flatMap((name) => linkAdd({ name, group: 99, data: { kind: 'veth', peer: { name: `p${name}` } } })),
  );
  assert.equal((await socket.dump(linkDump())).length, 41);
  await socket.execute([linkDeleteGroup(99)]);
  assert.deepEqual(
    (await socket.dump(linkDump())).map(({ name }) => name),
    ['lo'],
  );
  assert.deepEqual(
    (await socket.executeAll([linkDelete(4242), linkDeleteGroup(99)])).map((answer) => answer?.errno),
    ['ENODEV', 'ENODEV'],
  );
});
