import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr, parsePrefixed } from '../../src/ip/cidr.ts';
import { addressReplace, IFA_F_NODAD } from '../../src/linux/address.ts';
import { linkAdd } from '../../src/linux/link/change.ts';
import { linkGet } from '../../src/linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { type Route, routeAdd, routeDelete, routeDump, routeReplace } from '../../src/linux/route.ts';
import { routeGet, routeGets } from '../../src/linux/route-lookup.ts';
import { kernelTest, sandbox } from './sandbox.ts';

const ip = parseIp;
const net = parseCidr;

/** A namespace with an interface that has a carrier and addresses of both families. */
async function withUnderlay(t: TestContext) {
  const box = sandbox(t);
  const socket = NetlinkSocket.open(NETLINK_ROUTE, { netns: box.netns });
  t.after(() => socket.close());
  await socket.execute(
    linkAdd({ name: 'u1', addrGenMode: 'none', up: true, data: { kind: 'veth', peer: { name: 'u0' } } }),
  );
  await socket.execute(linkAdd({ name: 'br0', addrGenMode: 'none', up: true, data: { kind: 'bridge' } }));
  box.run('ip', 'link', 'set', 'u0', 'up');
  const { index: dev } = await socket.get(linkGet('u0'));
  const { index: other } = await socket.get(linkGet('br0'));
  await socket.execute([
    addressReplace({ dev, address: parsePrefixed('10.0.0.1/24') }),
    addressReplace({ dev, address: parsePrefixed('fd00::1/64'), flags: IFA_F_NODAD }),
  ]);
  return { ...box, socket, dev, other };
}

const GATEWAYS = { 4: ['10.0.0.5', '10.0.0.6'], 6: ['fd00::5', 'fd00::6'] } as const;
const NETWORKS = { 4: ['10.9.0.0/16', '10.8.0.0/24'], 6: ['fd09::/64', 'fd08::/48'] } as const;

for (const family of [4, 6] as const) {
  const [gateway, otherGateway] = GATEWAYS[family].map(parseIp) as [
    ReturnType<typeof ip>,
    ReturnType<typeof ip>,
  ];
  const [first, second] = NETWORKS[family].map(parseCidr) as [ReturnType<typeof net>, ReturnType<typeof net>];
  const option = family === 6 ? ['-6'] : [];

  kernelTest(`IPv${family} routes match \`ip route\``, async (t) => {
    const { socket, json, dev } = await withUnderlay(t);
    const offLink = family === 4 ? ip('172.16.0.1') : ip('fdff::1');
    const wanted: Route[] = [
      { dst: first, via: gateway, dev, protocol: 110, metric: 50, table: 300, mtu: 1400 },
      { dst: second, via: offLink, dev, onlink: true, protocol: 110 },
      { dst: family === 4 ? net('10.244.0.0/16') : net('fd44::/32'), type: 'blackhole', protocol: 111 },
      { dst: family === 4 ? net('0.0.0.0/0') : net('::/0'), via: gateway, dev, protocol: 110 },
    ];
    await socket.execute(wanted.map(routeAdd));
    await socket.execute(wanted.map(routeReplace));
    const again = await socket.executeAll(wanted.map(routeAdd));
    assert.deepEqual(
      again.map((answer) => answer?.errno),
      wanted.map(() => 'EEXIST'),
    );

    const shown = json('ip', ...option, '-j', '-d', 'route', 'show', 'table', 'all');
    const find = (dst: string): Record<string, unknown> | undefined =>
      shown.find((route) => route.dst === dst);
    const one = find(first);
    assert.deepEqual(
      [one?.gateway, one?.dev, one?.metric, one?.table, one?.protocol, one?.metrics],
      [gateway, 'u0', 50, '300', '110', [{ mtu: 1400 }]],
    );
    assert.deepEqual([find(second)?.gateway, find(second)?.flags], [offLink, ['onlink']]);
    assert.equal(shown.find((route) => route.type === 'blackhole')?.protocol, '111');
    assert.equal(find('default')?.gateway, gateway);

    const dumped = [
      ...(await socket.dump(routeDump({ family, protocol: 110 }))),
      ...(await socket.dump(routeDump({ family, protocol: 111 }))),
    ];
    assert.equal(dumped.length, wanted.length);
    for (const route of wanted) {
      const match = dumped.find(({ dst }) => dst === route.dst);
      assert.deepEqual({ ...match, ...route }, match);
    }
    assert.equal((await socket.dump(routeDump({ family, table: 300 }))).length, 1);
    assert.deepEqual(await socket.dump(routeDump({ family, table: 301 })), []);
    const rest = await socket.dump(routeDump({ family, without: new Set([110, 111]) }));
    assert.ok(rest.length > 0 && rest.every(({ protocol }) => protocol !== 110 && protocol !== 111));
    // One route twice, another between them, and none.
    const places =
      family === 4
        ? ['10.8.0.1', '10.0.0.9', '10.8.0.2', '10.244.0.1']
        : ['fd08::1', 'fd00::9', 'fd08::2', 'fd44::1'];
    const asked = await socket.getAll(routeGets(places.map(ip), () => ({ fibMatch: true })));
    for (const [i, place] of places.entries()) {
      const [alone] = await socket.getAll([routeGet(ip(place), { fibMatch: true })]);
      assert.deepEqual(asked[i], alone, place);
    }
    assert.equal((await socket.dump(routeDump({ family, dev, protocol: 110 }))).length, 3);

    await socket.execute(dumped.map(routeDelete));
    assert.deepEqual(await socket.dump(routeDump({ family, protocol: 110 })), []);
    const missing = await socket.executeAll(dumped.map(routeDelete));
    assert.ok(
      missing.every((answer) => answer?.errno === 'ESRCH' || answer?.errno === 'ENOENT'),
      `${missing}`,
    );
  });

  kernelTest(`IPv${family} replace leaves one route, whatever existed before`, async (t) => {
    const { socket, dev, other } = await withUnderlay(t);
    const variants: Omit<Route, 'dst'>[] = [
      { via: gateway, dev },
      { via: otherGateway, dev },
      { dev },
      { dev: other },
      { type: 'blackhole' },
      { via: gateway, dev, onlink: true, mtu: 1300 },
      {
        nexthops: [
          { via: gateway, dev },
          { via: otherGateway, dev, weight: 3 },
        ],
      },
    ];
    const failures: string[] = [];
    for (const [i, before] of variants.entries()) {
      for (const [j, after] of variants.entries()) {
        await socket.execute([routeReplace({ dst: first, protocol: 110, ...before })]);
        await socket.execute([routeReplace({ dst: first, protocol: 111, ...after })]);
        const left = (await socket.dump(routeDump({ family, table: 254 }))).filter(
          ({ dst }) => dst === first,
        );
        if (left.length !== 1 || left[0]?.protocol !== 111)
          failures.push(`${i}→${j}: ${JSON.stringify(left)}`);
        for (const route of left) await socket.executeAll([routeDelete(route)]);
        for (const { protocol } of [{ protocol: 110 }, { protocol: 111 }]) {
          await socket.executeAll([routeDelete({ dst: first, protocol })]);
        }
        const rest = (await socket.dump(routeDump({ family, table: 254 }))).filter(
          ({ dst }) => dst === first,
        );
        assert.deepEqual(rest, []);
      }
    }
    assert.deepEqual(failures, []);
  });

  kernelTest(`IPv${family} multipath routes`, async (t) => {
    const { socket, dev } = await withUnderlay(t);
    const nexthops = [
      { dev, via: gateway, onlink: false, weight: 2 },
      { dev, via: otherGateway, onlink: true, weight: 1 },
    ];
    await socket.execute([routeReplace({ dst: first, protocol: 110, nexthops })]);
    const [route] = await socket.dump(routeDump({ family, protocol: 110 }));
    assert.deepEqual(route?.nexthops, nexthops);
    assert.deepEqual([route?.dev, route?.via], [undefined, undefined]);
  });

  kernelTest(`IPv${family} route get`, async (t) => {
    const { socket, dev } = await withUnderlay(t);
    await socket.execute([routeReplace({ dst: first, via: gateway, dev })]);
    const target = family === 4 ? ip('10.9.1.1') : ip('fd09::1');
    const { via, dev: by, src } = await socket.get(routeGet(target));
    assert.deepEqual([via, by, src], [gateway, dev, family === 4 ? '10.0.0.1' : 'fd00::1']);
    const direct = await socket.get(routeGet(gateway, { oif: dev }));
    assert.equal(direct.via, undefined);
    await assert.rejects(socket.get(routeGet(family === 4 ? ip('192.0.2.1') : ip('2001:db8::1'))), {
      code: 'NETLINK',
      errno: 'ENETUNREACH',
    });
  });

  kernelTest(`IPv${family} route get with fibMatch`, async (t) => {
    const { socket, dev, other } = await withUnderlay(t);
    const target = family === 4 ? ip('10.9.1.1') : ip('fd09::1');
    const from = family === 4 ? ip('10.0.0.1') : ip('fd00::1');
    const offLink = family === 4 ? ip('172.16.0.1') : ip('fdff::1');
    const ask = () => socket.get(routeGet(target, { from, fibMatch: true }));
    const nexthops = [
      { dev, via: gateway, onlink: false, weight: 1 },
      { dev: other, via: offLink, onlink: true, weight: 1 },
    ];
    await socket.execute([routeReplace({ dst: first, mtu: 1400, nexthops })]);
    const { dst, type, mtu, ...several } = await ask();
    // IPv6 lists the chosen next hop first.
    const ways = several.nexthops?.toSorted((one, two) => one.dev - two.dev);
    assert.deepEqual([dst, type, mtu, ways], [first, 'unicast', 1400, nexthops]);
    await socket.execute([routeReplace({ dst: first, via: gateway, dev })]);
    const one = await ask();
    assert.deepEqual([one.dst, one.mtu, one.dev, one.via], [first, undefined, dev, gateway]);
    await socket.execute([routeReplace({ dst: first, type: 'blackhole' })]);
    await assert.rejects(ask(), { code: 'NETLINK', errno: 'EINVAL' });
  });
}

kernelTest('an IPv4 route through an IPv6 gateway', async (t) => {
  const { socket, dev, json } = await withUnderlay(t);
  await socket.execute([routeReplace({ dst: net('10.9.0.0/16'), via: ip('fd00::5'), dev, protocol: 110 })]);
  assert.deepEqual(json('ip', '-j', 'route', 'show', 'proto', '110')[0]?.via, {
    family: 'inet6',
    host: 'fd00::5',
  });
  const [route] = await socket.dump(routeDump({ family: 4, protocol: 110 }));
  assert.equal(route?.via, 'fd00::5');
});
