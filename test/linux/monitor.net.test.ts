import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import type { TestContext } from 'node:test';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr, parsePrefixed } from '../../src/ip/cidr.ts';
import { parseMac } from '../../src/ip/mac.ts';
import { addressReplace } from '../../src/linux/address.ts';
import type { MonitorEvent } from '../../src/linux/event.ts';
import { fdbReplace } from '../../src/linux/fdb.ts';
import { linkAdd, linkDelete, linkSet } from '../../src/linux/link/change.ts';
import { linkGet } from '../../src/linux/link/link.ts';
import { Monitor } from '../../src/linux/monitor.ts';
import { neighbourReplace } from '../../src/linux/neighbour.ts';
import { NETCONFA_IFINDEX_ALL } from '../../src/linux/netconf.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { withNetns } from '../../src/linux/netns.ts';
import { routeAdd, routeDelete } from '../../src/linux/route.ts';
import { ruleAdd } from '../../src/linux/rule.ts';
import { writeSysctl } from '../../src/linux/sysctl.ts';
import { kernelTest, sandbox } from './sandbox.ts';

const ip = parseIp;
const mac = parseMac('12:c6:65:89:b4:e3');

/** Collects events, and waits for a particular one. */
function collect(t: TestContext, netns: string, options: Partial<Parameters<typeof Monitor.open>[0]> = {}) {
  const stop = new AbortController();
  const events: MonitorEvent[] = [];
  const done = Monitor.open({ netns, signal: stop.signal, ...options }).run((event) => events.push(event));
  t.after(async () => {
    stop.abort();
    await done;
  });
  const seen = async (matches: (event: MonitorEvent) => boolean, what: string): Promise<MonitorEvent> => {
    for (let i = 0; i < 200; i++) {
      const event = events.find(matches);
      if (event) return event;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`no ${what} among ${JSON.stringify(events)}`);
  };
  return { events, seen };
}

async function withVxlan(t: TestContext, onDemand: boolean) {
  const box = sandbox(t);
  const socket = NetlinkSocket.open(NETLINK_ROUTE, { netns: box.netns });
  t.after(() => socket.close());
  const data = { kind: 'vxlan', id: 1, local: ip('10.0.0.1'), port: 8472, learning: false } as const;
  const misses = { proxy: onDemand, l2miss: onDemand, l3miss: onDemand };
  await socket.execute(
    linkAdd({ name: 'flannel.1', addrGenMode: 'none', up: true, data: { ...data, ...misses } }),
  );
  const { index: dev } = await socket.get(linkGet('flannel.1'));
  return { ...box, socket, dev };
}

kernelTest('events gather after the first, until someone asks for them', async (t) => {
  const { netns, socket, dev } = await withVxlan(t, false);
  const stop = new AbortController();
  const mtus: number[] = [];
  const monitor = Monitor.open({ netns, signal: stop.signal, objects: ['link'], gather: 60_000 });
  const done = monitor.run((event) => {
    if (event.type === 'new' && event.object === 'link') mtus.push(event.value.mtu);
  });
  const change = async (mtu: number): Promise<void> => {
    socket.executeSync(linkSet(dev, { mtu }));
    await new Promise((resolve) => setTimeout(resolve, 100));
  };
  await change(1300);
  assert.equal(mtus.at(-1), 1300);
  await change(1301);
  await change(1302);
  assert.equal(mtus.at(-1), 1300);
  monitor.catchUp();
  assert.ok(mtus.includes(1301));
  assert.equal(mtus.at(-1), 1302);
  stop.abort();
  await done;
  monitor.catchUp();
});

kernelTest('whoever asks gets all that has happened, even before the listener has woken up', async (t) => {
  const { netns, socket, dev } = await withVxlan(t, false);
  const stop = new AbortController();
  const mtus: number[] = [];
  const monitor = Monitor.open({ netns, signal: stop.signal, objects: ['link'], gather: 5 });
  const done = monitor.run((event) => {
    if (event.type === 'new' && event.object === 'link') mtus.push(event.value.mtu);
  });
  for (let mtu = 1300; mtu < 1350; mtu++) {
    // Its waiting thread may have been woken by now, or not.
    if (mtu % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
    socket.executeSync(linkSet(dev, { mtu }));
    monitor.catchUp();
    assert.equal(mtus.at(-1), mtu);
  }
  stop.abort();
  await done;
});

kernelTest(
  'hundreds of changes are reported once each and in order, also to one who asks meanwhile',
  async (t) => {
    const { netns, socket, dev } = await withVxlan(t, false);
    const stop = new AbortController();
    const added: string[] = [];
    const monitor = Monitor.open({ netns, signal: stop.signal, objects: ['address'], gather: 60_000 });
    const done = monitor.run((event) => {
      if (event.type !== 'new' || event.object !== 'address') return;
      added.push(event.value.address);
      // More than one read's worth is left.
      if (added.length === 3) monitor.catchUp();
    });
    const addresses = Array.from({ length: 200 }, (_, i) => parsePrefixed(`10.244.${i}.0/32`));
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.executeSync(addresses.map((address) => addressReplace({ dev, address })));
    monitor.catchUp();
    assert.deepEqual(added, addresses);
    stop.abort();
    await done;
  },
);

kernelTest('what was read from the kernel, but not at once, waits for no further change', async (t) => {
  const { netns, socket, dev } = await withVxlan(t, false);
  const stop = new AbortController();
  t.after(() => stop.abort());
  const added: string[] = [];
  // More than a listener takes at once, and no multiple of what one system call reads.
  const addresses = Array.from({ length: 276 }, (_, i) => parsePrefixed(`10.${i >> 8}.${i & 255}.0/32`));
  const add = (some: typeof addresses): void =>
    socket.executeSync(some.map((address) => addressReplace({ dev, address })));
  const done = Monitor.open({ netns, signal: stop.signal, objects: ['address'] }).run((event) => {
    if (event.type !== 'new' || event.object !== 'address') return;
    if (added.push(event.value.address) === 1) add(addresses.slice(20));
  });
  add(addresses.slice(0, 20));
  for (let i = 0; i < 100 && added.length < addresses.length; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.deepEqual(added, addresses);
  stop.abort();
  await done;
});

kernelTest('every kind of change is reported, with its originator', async (t) => {
  const { netns, socket, dev, run } = await withVxlan(t, false);
  const { seen } = collect(t, netns);
  await socket.execute([
    addressReplace({ dev, address: parsePrefixed('10.244.0.0/32') }),
    neighbourReplace({ dev, ip: ip('10.244.1.0'), mac }),
    fdbReplace({ dev, mac, dst: ip('10.0.0.2') }),
    routeAdd({ dst: parseCidr('10.244.1.0/24'), via: ip('10.244.1.0'), dev, onlink: true, protocol: 110 }),
    ruleAdd({ family: 4, priority: 7, table: 300 }),
    ...linkSet(dev, { mtu: 1300 }),
  ]);
  const ours = { portId: socket.portId, type: 'new' };
  const of = (object: string) => (event: MonitorEvent) => 'object' in event && event.object === object;
  assert.partialDeepStrictEqual(await seen(of('address'), 'address'), {
    ...ours,
    value: { dev, address: '10.244.0.0/32' },
  });
  assert.partialDeepStrictEqual(await seen(of('neighbour'), 'neighbour'), {
    value: { dev, ip: '10.244.1.0', mac },
  });
  assert.partialDeepStrictEqual(await seen(of('fdb'), 'fdb'), { value: { dev, mac, dst: '10.0.0.2' } });
  const isRoute = (type: string) => (event: MonitorEvent) =>
    'object' in event && event.object === 'route' && event.type === type && event.value.protocol === 110;
  assert.partialDeepStrictEqual(await seen(isRoute('new'), 'route'), {
    ...ours,
    value: { via: '10.244.1.0', dev },
  });
  assert.partialDeepStrictEqual(await seen(of('rule'), 'rule'), {
    ...ours,
    value: { priority: 7, table: 300 },
  });
  const isMtu = (event: MonitorEvent): boolean =>
    'object' in event && event.object === 'link' && event.value.mtu === 1300;
  assert.partialDeepStrictEqual(await seen(isMtu, 'link'), { value: { index: dev, name: 'flannel.1' } });

  run('ip', 'route', 'delete', '10.244.1.0/24');
  const deleted = await seen(isRoute('del'), 'deleted route');
  assert.ok('portId' in deleted && deleted.portId !== socket.portId);
  await socket.execute([linkDelete(dev)]);
  await seen((event) => of('link')(event) && event.type === 'del', 'deleted link');
});

kernelTest('changes to forwarding, reverse path filter and proxy sysctls are reported', async (t) => {
  const { netns, dev } = await withVxlan(t, false);
  const { seen } = collect(t, netns, { objects: ['netconf'] });
  const told = (value: object) => (event: MonitorEvent) =>
    'object' in event && event.object === 'netconf' && isSubset(event.value, value);
  const isSubset = (value: object, part: object) =>
    Object.entries(part).every(([name, wanted]) => Object(value)[name] === wanted);
  for (const [path, value] of [
    ['net/ipv4/ip_forward', { family: 4, dev: NETCONFA_IFINDEX_ALL, forwarding: 1 }],
    ['net/ipv6/conf/all/forwarding', { family: 6, dev: NETCONFA_IFINDEX_ALL, forwarding: 1 }],
    ['net/ipv4/conf/flannel.1/rp_filter', { family: 4, dev, rpFilter: 1 }],
    ['net/ipv4/conf/flannel.1/proxy_arp', { family: 4, dev, proxyNeighbour: 1 }],
    ['net/ipv6/conf/flannel.1/proxy_ndp', { family: 6, dev, proxyNeighbour: 1 }],
  ] as const) {
    withNetns(netns, () => writeSysctl(path, 0));
    withNetns(netns, () => writeSysctl(path, 1));
    await seen(told(value), path);
  }
});

kernelTest('a port that leaves its bridge is not reported as a deleted link', async (t) => {
  const { netns, socket, run } = await withVxlan(t, false);
  run('ip', 'link', 'add', 'br0', 'type', 'bridge');
  run('ip', 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1');
  const { index: br0 } = await socket.get(linkGet('br0'));
  const { index: v0 } = await socket.get(linkGet('v0'));
  const { events, seen } = collect(t, netns, { objects: ['link'] });
  await socket.execute(linkSet(v0, { master: br0 }));
  // `ip link … type bridge_slave` would change it too, but without a notification.
  run('bridge', 'link', 'set', 'dev', 'v0', 'hairpin', 'on');
  await seen((e) => 'object' in e && e.object === 'port' && e.value.port?.hairpin === true, 'hairpin');
  await socket.execute(linkSet(v0, { master: 0 }));
  await seen(
    (e) => 'object' in e && e.object === 'port' && e.type === 'del' && e.value.dev === v0,
    'port leaving',
  );
  assert.ok(!events.some((e) => 'object' in e && e.object === 'link' && e.type === 'del'));
});

kernelTest('misses of a vxlan device: the MAC of an address, and the node behind a MAC', async (t) => {
  const { netns, socket, dev, run } = await withVxlan(t, true);
  withNetns(netns, () => {
    writeSysctl('net/ipv4/neigh/flannel.1/app_solicit', 1);
    writeSysctl('net/ipv6/neigh/flannel.1/app_solicit', 1);
  });
  await socket.execute([
    addressReplace({ dev, address: parsePrefixed('10.244.0.0/32') }),
    addressReplace({ dev, address: parsePrefixed('fd00::/128'), flags: 2 }),
    routeAdd({ dst: parseCidr('10.244.1.0/24'), via: ip('10.244.1.0'), dev, onlink: true }),
    routeAdd({ dst: parseCidr('10.244.2.0/24'), via: ip('10.244.2.0'), dev, onlink: true }),
    routeAdd({ dst: parseCidr('fd00:0:0:1::/64'), via: ip('fd00:0:0:1::'), dev, onlink: true }),
    neighbourReplace({ dev, ip: ip('10.244.2.0'), mac }),
  ]);
  const { seen } = collect(t, netns, { objects: ['neighbour'] });
  const probe = (...command: string[]): void => {
    try {
      run('ping', '-c', '1', '-W', '0.2', ...command);
    } catch {}
  };
  probe('10.244.1.5');
  probe('10.244.2.5');
  probe('-6', 'fd00:0:0:1::5');
  const l3 = await seen((e) => e.type === 'miss' && e.ip === '10.244.1.0', 'IPv4 miss');
  assert.deepEqual(l3, { type: 'miss', dev, ip: '10.244.1.0', mac: undefined });
  const l2 = await seen((e) => e.type === 'miss' && e.mac === mac, 'MAC miss');
  assert.deepEqual(l2, { type: 'miss', dev, ip: undefined, mac });
  const v6 = await seen((e) => e.type === 'miss' && e.ip === 'fd00:0:0:1::', 'IPv6 miss');
  assert.deepEqual(v6, { type: 'miss', dev, ip: 'fd00:0:0:1::', mac: undefined });
});

kernelTest('l3miss: ARP requests from a bridge port', async (t) => {
  const { netns, socket, dev, run } = await withVxlan(t, true);
  run('ip', 'link', 'add', 'br0', 'type', 'bridge');
  run('ip', 'link', 'set', 'flannel.1', 'master', 'br0');
  run('ip', 'link', 'set', 'br0', 'up');
  run('ip', 'address', 'add', '10.244.0.1/16', 'dev', 'br0');
  const { seen } = collect(t, netns, { objects: ['neighbour'] });
  try {
    run('ping', '-c', '1', '-W', '0.2', '10.244.3.5');
  } catch {}
  const miss = await seen((e) => e.type === 'miss', 'miss');
  assert.deepEqual(miss, { type: 'miss', dev, ip: '10.244.3.5', mac: undefined });
  socket.close();
});

kernelTest('lost events are reported as an overflow, and listening continues', async (t) => {
  const { netns, socket } = await withVxlan(t, false);
  const stop = new AbortController();
  t.after(() => stop.abort());
  const monitor = Monitor.open({ netns, signal: stop.signal, objects: ['route'] });
  const routes = Array.from({ length: 20_000 }, (_, i) => ({
    dst: parseCidr(`10.${i >> 8}.${i & 255}.0/24`),
    type: 'blackhole' as const,
    protocol: 110,
  }));
  await socket.execute(routes.map(routeAdd));
  let overflows = 0;
  const last = parseCidr('192.0.2.0/24');
  const done = monitor.run((event) => {
    if (event.type === 'overflow') {
      overflows++;
      socket.executeSync([routeAdd({ dst: last, type: 'blackhole' })]);
    } else if ('object' in event && event.object === 'route' && event.value.dst === last) stop.abort();
  });
  await done;
  assert.equal(overflows, 1);
  socket.executeSync(routes.slice(0, 10).map(routeDelete));
});

kernelTest('abort ends a waiting monitor immediately and closes its socket', async (t) => {
  const { netns } = sandbox(t);
  const descriptors = (): number => fs.readdirSync('/proc/self/fd').length;
  const before = descriptors();
  const stop = new AbortController();
  const done = Monitor.open({ netns, signal: stop.signal }).run(() => {});
  await new Promise((resolve) => setTimeout(resolve, 20));
  const start = performance.now();
  stop.abort();
  await done;
  assert.ok(performance.now() - start < 100, `${performance.now() - start} ms`);
  Monitor.open({ netns, signal: stop.signal });
  const unread = new AbortController();
  Monitor.open({ netns, signal: unread.signal });
  unread.abort();
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  const left = Monitor.open({ netns, signal: new AbortController().signal });
  await socket.execute(linkSet(1, { up: true }));
  const enough = new Error('seen enough');
  const throwing = left.run(() => {
    throw enough;
  });
  await assert.rejects(throwing, enough);
  socket.close();
  assert.equal(descriptors(), before);
});

kernelTest('a process with a monitor can exit explicitly, and exits on its own after an abort', (t) => {
  const { netns } = sandbox(t);
  const start = (ending: string) => {
    const script = `
      import { Monitor } from ${JSON.stringify(import.meta.resolve('../../src/linux/monitor.ts'))};
      const stop = new AbortController();
      Monitor.open({ netns: process.argv[1], signal: stop.signal }).run(() => {});
      setTimeout(() => { ${ending} }, 50);
    `;
    return execFileSync(process.execPath, ['--input-type=module', '-e', script, netns], { timeout: 3000 });
  };
  start('process.exit(0)');
  start('stop.abort()');
});
