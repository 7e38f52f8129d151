import assert from 'node:assert/strict';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr, parsePrefixed } from '../../../src/ip/cidr.ts';
import { macFromSeed } from '../../../src/ip/mac.ts';
import { addressReplace } from '../../../src/linux/address.ts';
import { fdbDump, fdbReplace } from '../../../src/linux/fdb.ts';
import { linkAdd, linkDelete, linkSet } from '../../../src/linux/link/change.ts';
import { linkDump, linkGet } from '../../../src/linux/link/link.ts';
import { neighbourDump, neighbourReplace } from '../../../src/linux/neighbour.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../../src/linux/netlink/socket.ts';
import { type Route, routeAdd, routeDelete, routeDump, routeReplace } from '../../../src/linux/route.ts';
import { routeGet } from '../../../src/linux/route-lookup.ts';
import { kernelTest, sandbox } from '../sandbox.ts';

const net = parseCidr;

kernelTest('errors carry the operation, object, errno and the kernel’s message', async (t) => {
  const { netns } = sandbox(t);
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  await socket.execute(linkSet(1, { up: true }));
  await assert.rejects(
    socket.execute([routeReplace({ dst: net('10.9.0.0/16'), via: parseIp('192.0.2.1') })]),
    {
      code: 'NETLINK',
      operation: 'route replace',
      object: '10.9.0.0/16 via 192.0.2.1',
      errno: 'ENETUNREACH',
      message: 'route replace 10.9.0.0/16 via 192.0.2.1: Nexthop has invalid gateway (ENETUNREACH)',
    },
  );
  await assert.rejects(socket.get(linkGet('nosuch')), {
    errno: 'ENODEV',
    message: /^link show nosuch: no such device/,
  });
  assert.throws(() => socket.getSync(linkGet(4242)), { errno: 'ENODEV' });
  const [invalid] = socket.executeAllSync([addressReplace({ dev: 1, address: '10.0.0.1/33' as never })]);
  assert.equal(invalid?.errno, 'EINVAL');
});

kernelTest('a batch: each request has its own answer, and a failed one does not stop the rest', async (t) => {
  const { netns } = sandbox(t);
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  await socket.execute(linkSet(1, { up: true }));
  const routes: Route[] = Array.from({ length: 5000 }, (_, i) => ({
    dst: net(`10.${i >> 8}.${i & 255}.0/24`),
    // Every seventh has an unreachable gateway, so its answer is long.
    ...(i % 7 === 0 ? { via: parseIp('192.0.2.1') } : { type: 'blackhole' as const }),
    protocol: 110,
  }));
  const answers = await socket.executeAll(routes.map(routeAdd));
  assert.equal(answers.length, routes.length);
  for (const [i, answer] of answers.entries())
    assert.equal(answer?.errno, i % 7 === 0 ? 'ENETUNREACH' : undefined);
  const there = await socket.dump(routeDump({ family: 4, protocol: 110 }));
  assert.equal(there.length, answers.filter((answer) => !answer).length);
  const sync = socket.executeAllSync(routes.map(routeDelete));
  for (const [i, answer] of sync.entries()) assert.equal(answer?.errno, i % 7 === 0 ? 'ESRCH' : undefined);
  await assert.rejects(socket.execute(routes.slice(0, 3).map(routeDelete)), { errno: 'ESRCH' });
  await socket.execute([]);
});

kernelTest('many queries at once: each has its own answer or error', async (t) => {
  const { netns } = sandbox(t);
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  await socket.execute([
    ...linkSet(1, { up: true }),
    ...Array.from({ length: 8 }, (_, i) => routeAdd({ dst: net(`10.${i}.0.0/16`), dev: 1, mtu: 1400 + i })),
  ]);
  const questions = Array.from({ length: 6000 }, (_, i) =>
    routeGet(parseIp(`10.${i % 9}.0.${i & 255}`), { fibMatch: true }),
  );
  const answers = await socket.getAll(questions);
  assert.deepEqual(
    answers.map((answer) => (answer instanceof Error ? `${answer.object} ${answer.errno}` : answer.mtu)),
    questions.map(({ object }, i) => (i % 9 === 8 ? `${object} ENETUNREACH` : 1400 + (i % 9))),
  );
  assert.deepEqual(await socket.getAll([]), []);
});

kernelTest('concurrent calls are queued, and closing waits for them', async (t) => {
  const { netns } = sandbox(t);
  const socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  const all = Promise.all(
    Array.from({ length: 50 }, async (_, i) => {
      await socket.execute(linkAdd({ name: `v${i}`, data: { kind: 'veth', peer: { name: `p${i}` } } }));
      return (await socket.get(linkGet(`v${i}`))).name;
    }),
  );
  assert.throws(() => socket.dumpSync(linkDump()), { code: 'INTERNAL' });
  assert.deepEqual(
    await all,
    Array.from({ length: 50 }, (_, i) => `v${i}`),
  );
  assert.equal(socket.dumpSync(linkDump()).length, 101);
  const last = socket.dump(linkDump());
  socket.close();
  assert.equal((await last).length, 101);
  socket.close();
  await assert.rejects(socket.dump(linkDump()), /closed/);
});

kernelTest('dumps are complete despite concurrent changes', async (t) => {
  const { netns } = sandbox(t);
  using reader = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  using writer = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  await writer.execute(
    Array.from({ length: 200 }, (_, i) =>
      linkAdd({ name: `b${i}`, data: { kind: 'veth', peer: { name: `c${i}` } } }),
    ).flat(),
  );
  const steady = new Set((await reader.dump(linkDump())).map(({ name }) => name));
  let changes = 0;
  const stop = new AbortController();
  const churn = (async () => {
    while (!stop.signal.aborted) {
      await writer.execute(linkAdd({ name: 'flap', data: { kind: 'bridge' } }));
      const { index } = await writer.get(linkGet('flap'));
      await writer.execute([linkDelete(index)]);
      changes++;
    }
  })();
  for (let i = 0; i < 20; i++) {
    const names = (await reader.dump(linkDump())).map(({ name }) => name).filter((name) => name !== 'flap');
    assert.equal(names.length, steady.size);
    assert.deepEqual(new Set(names), steady);
  }
  stop.abort();
  await churn;
  assert.ok(changes > 0);
});

kernelTest('15,000 entries are written within seconds and read back completely', async (t) => {
  const { netns } = sandbox(t);
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  const data = { kind: 'vxlan', id: 1, local: parseIp('10.0.0.1'), port: 8472, learning: false } as const;
  await socket.execute(linkAdd({ name: 'flannel.1', up: true, data }));
  const { index: dev } = await socket.get(linkGet('flannel.1'));
  // Before its first address, a namespace has no local table, and no gateway is valid (__inet_dev_addr_type).
  await socket.execute([addressReplace({ dev, address: parsePrefixed('10.99.0.0/32') })]);
  const peers = Array.from({ length: 5000 }, (_, i) => ({
    ip: parseIp(`10.${100 + (i >> 8)}.${i & 255}.0`),
    mac: macFromSeed(`${i}`),
  }));
  const start = performance.now();
  const requests = peers.flatMap(({ ip, mac }) => [
    neighbourReplace({ dev, ip, mac }),
    fdbReplace({ dev, mac, dst: parseIp('10.0.0.2') }),
    routeReplace({ dst: net(`${ip}/24`), via: ip, dev, onlink: true, protocol: 110 }),
  ]);
  const encoded = performance.now();
  await socket.execute(requests);
  const executed = performance.now();
  const neighbours = (await socket.dump(neighbourDump({ dev }))).filter(({ state }) => state === 0x80);
  const entries = await socket.dump(fdbDump(dev));
  const routes = await socket.dump(routeDump({ family: 4, protocol: 110 }));
  const dumped = performance.now();
  assert.deepEqual([neighbours.length, entries.length, routes.length], [5000, 5000, 5000]);
  const [encoding, executing, dumping] = [encoded - start, executed - encoded, dumped - executed].map(
    Math.round,
  );
  t.diagnostic(`encoded in ${encoding} ms, executed in ${executing} ms, dumped in ${dumping} ms`);
  assert.ok(dumped - start < 10_000);
});
