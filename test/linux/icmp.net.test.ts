import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import fc from 'fast-check';
import { type Family, parseIp } from '../../src/ip/address.ts';
import { sendDatagram, sendPacket } from '../../src/linux/datagram.ts';
import { IcmpSocket, waitForMessages } from '../../src/linux/icmp.ts';
import { checksum, decodeIcmp, encodeEcho } from '../../src/linux/icmp-message.ts';
import { linkGet } from '../../src/linux/link/link.ts';
import { neighbourDump } from '../../src/linux/neighbour.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { withNetns } from '../../src/linux/netns.ts';
import { applyRuleset } from '../../src/linux/nftables/ruleset.ts';
import { ping } from './beyond.ts';
import { kernelTest, sandbox } from './sandbox.ts';

/**
 * Two namespaces behind a router: 10.1.0.2 and 10.2.0.2, fd01::2 and fd02::2; the second link's MTU can be
 * reduced.
 */
function routed(t: TestContext) {
  const [a, router, b] = [sandbox(t), sandbox(t), sandbox(t)];
  for (const one of [a, router, b]) one.run('sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0');
  for (const [i, end] of [a, b].entries()) {
    const [v4, v6] = [`10.${i + 1}.0`, `fd0${i + 1}:`];
    router.run('ip', 'link', 'add', `r${i}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', end.name);
    // Up first, and without DAD: otherwise the router solicits no neighbours until it has a link-local
    // address (ndisc_send_ns).
    router.run('ip', 'link', 'set', `r${i}`, 'up');
    router.run('ip', 'address', 'add', `${v4}.1/24`, 'dev', `r${i}`);
    router.run('ip', 'address', 'add', `${v6}:1/64`, 'dev', `r${i}`, 'nodad');
    end.run('ip', 'link', 'set', 'eth0', 'up');
    end.run('ip', 'address', 'add', `${v4}.2/24`, 'dev', 'eth0');
    end.run('ip', 'address', 'add', `${v6}:2/64`, 'dev', 'eth0', 'nodad');
    end.run('ip', 'route', 'add', 'default', 'via', `${v4}.1`);
    end.run('ip', 'route', 'add', 'default', 'via', `${v6}:1`);
  }
  router.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  return { a, router, b };
}

const ip = parseIp;
/** The two ends, an unused address, and the first end's side of the router. */
const ENDS = {
  4: [ip('10.1.0.2'), ip('10.2.0.2'), ip('10.3.0.2'), ip('10.1.0.1')],
  6: [ip('fd01::2'), ip('fd02::2'), ip('fd03::2'), ip('fd01::1')],
} as const;

for (const family of [4, 6] as const) {
  const [from, to, nowhere, gateway] = ENDS[family];

  kernelTest(`IPv${family}: replies, and the requests seen by the other side`, async (t) => {
    const { a, router, b } = routed(t);
    using sender = IcmpSocket.open({ family, netns: a.netns });
    using observer = IcmpSocket.open({ family, netns: b.netns });
    using deaf = IcmpSocket.open({ family, netns: b.netns, answersOnly: true });
    const result = await ping(sender, to, { size: 100 });
    assert.ok(result.reached);
    assert.ok(result.nanoseconds > 0n && result.nanoseconds < 1_000_000_000n);
    assert.deepEqual(await waitForMessages([observer, sender], 1000), [observer]);
    assert.partialDeepStrictEqual(observer.receive(), {
      type: 'request',
      from,
      id: sender.id,
      sequence: 1,
      size: 100,
    });
    assert.equal(observer.receive(), undefined);
    assert.equal(deaf.receive(), undefined);

    const nat = family === 4 ? 'ip' : 'ip6';
    const chain = 'chain p { type nat hook postrouting priority 100; oifname "r1" masquerade; }';
    await applyRuleset(`table ${nat} n {\n${chain}\n}`, { netns: router.netns });
    assert.ok((await ping(sender, to)).reached);
    assert.equal(observer.receive()?.from, parseIp(family === 4 ? '10.2.0.1' : 'fd02::1'), 'NAT is visible');
  });

  kernelTest(`IPv${family}: errors`, async (t) => {
    const { a, router } = routed(t);
    using socket = IcmpSocket.open({ family, netns: a.netns, dontFragment: true });
    const lost = await ping(socket, nowhere);
    assert.partialDeepStrictEqual(lost, {
      reached: false,
      error: { type: 'unreachable', to: nowhere, id: socket.id },
    });
    router.run('ip', 'link', 'set', 'r1', 'mtu', '1300');
    const big = await ping(socket, to, { size: 1400 });
    assert.partialDeepStrictEqual(big, {
      reached: false,
      error: { type: 'too-big', to, mtu: 1300, id: socket.id },
    });
    assert.throws(() => socket.send(to, 1500), { code: 'SYSCALL', operation: 'sendto', errno: 'EMSGSIZE' });
    using fragmenting = IcmpSocket.open({ family, netns: a.netns });
    assert.ok((await ping(fragmenting, gateway, { size: 3000 })).reached);
    await applyRuleset(
      'table inet d {\nchain f { type filter hook forward priority 0; policy drop; }\n}',
      router,
    );
    const start = performance.now();
    assert.deepEqual(await ping(socket, to, { timeout: 150 }), { reached: false, error: undefined });
    assert.ok(performance.now() - start < 1000);
    await assert.rejects(ping(socket, to, { signal: AbortSignal.abort(new Error('enough')) }), /enough/);
  });

  kernelTest(`IPv${family}: what nobody at the other end receives, by port and by protocol`, async (t) => {
    const { a, b } = routed(t);
    // Otherwise the second answer of a second may be one too many.
    b.run('sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0', 'net.ipv6.icmp.ratelimit=0');
    using socket = IcmpSocket.open({ family, netns: a.netns });
    const error = async (send: () => void) => {
      withNetns(a.netns, send);
      await waitForMessages([socket], 1000);
      return socket.receive();
    };
    const datagram = await error(() => sendDatagram(to, 6081, new Uint8Array()));
    assert.partialDeepStrictEqual(datagram, { type: 'unreachable', from: to, to, protocol: 17, port: 6081 });
    const packet = await error(() => sendPacket(to, 99, Buffer.alloc(40)));
    const type = family === 4 ? 'unreachable' : 'unknown-protocol';
    assert.partialDeepStrictEqual(packet, { type, from: to, to, protocol: 99, port: undefined });
  });

  kernelTest(`IPv${family}: a source, a limit of hops, and a station past the routes`, async (t) => {
    const { a, router, b } = routed(t);
    a.run('ip', 'link', 'set', 'lo', 'up');
    const other = family === 4 ? ip('10.9.0.1') : ip('fd09::1');
    a.run('ip', 'address', 'add', `${other}/${family === 4 ? 32 : 128}`, 'dev', 'lo');
    router.run('ip', 'route', 'add', other, 'via', from);
    using observer = IcmpSocket.open({ family, netns: b.netns });
    using bound = IcmpSocket.open({ family, netns: a.netns, source: other });
    assert.ok((await ping(bound, to)).reached);
    assert.equal(observer.receive()?.from, other);
    assert.throws(() => IcmpSocket.open({ family, netns: a.netns, source: nowhere }), {
      code: 'SYSCALL',
      errno: 'EADDRNOTAVAIL',
    });
    using short = IcmpSocket.open({ family, netns: a.netns, hops: 1 });
    assert.partialDeepStrictEqual(await ping(short, to), {
      reached: false,
      error: { type: 'time-exceeded', from: gateway, to },
    });

    a.run('ip', 'route', 'del', 'default', 'via', gateway);
    using socket = IcmpSocket.open({ family, netns: a.netns });
    assert.throws(() => socket.send(to), { errno: 'ENETUNREACH' });
    using netlink = NetlinkSocket.open(NETLINK_ROUTE, { netns: a.netns });
    const { index: dev } = netlink.getSync(linkGet('eth0'));
    const { mac } =
      netlink.dumpSync(neighbourDump({ family, dev })).find((each) => each.ip === gateway) ?? {};
    assert.ok(mac);
    const sequence = withNetns(a.netns, () => socket.sendVia({ dev, mac }, from, to, 1000));
    await waitForMessages([socket], 1000);
    const answer = { type: 'reply', from: to, id: socket.id, sequence, size: 1000 };
    assert.deepEqual(socket.receive(), answer);
  });

  kernelTest(`IPv${family}: send fails without a route`, async (t) => {
    const { netns, run } = sandbox(t);
    run('ip', 'link', 'set', 'lo', 'up');
    using socket = IcmpSocket.open({ family, netns });
    assert.throws(() => socket.send(to), { code: 'SYSCALL', errno: 'ENETUNREACH' });
  });

  kernelTest(`IPv${family} messages: any bytes are decoded or ignored, our own are decoded`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
        decodeIcmp(family, from, Buffer.from(bytes));
      }),
    );
    fc.assert(
      fc.property(fc.nat(0xffff), fc.nat(0xffff), fc.nat(2000), (id, sequence, size) => {
        const packet = encodeEcho(family as Family, id, sequence, size);
        if (family === 4) assert.equal(checksum(packet), 0);
        assert.deepEqual(decodeIcmp(family, from, packet), { type: 'request', from, id, sequence, size });
      }),
    );
  });
}

kernelTest('sixty sockets, each pinging each, in one thread', async (t) => {
  const count = 60;
  const hub = sandbox(t);
  hub.run('ip', 'link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0');
  hub.run('ip', 'link', 'set', 'br0', 'up');
  // A single namespace with many addresses would answer itself; a few namespaces with several sockets each
  // will do.
  const ends = Array.from({ length: 6 }, (_, i) => {
    const end = sandbox(t);
    hub.run(
      'ip',
      'link',
      'add',
      `p${i}`,
      'master',
      'br0',
      'up',
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      end.name,
    );
    end.run('ip', 'address', 'add', `10.0.0.${i + 1}/24`, 'dev', 'eth0');
    end.run('ip', 'link', 'set', 'eth0', 'up');
    return end;
  });
  const sockets = Array.from({ length: count }, (_, i) => {
    const socket = IcmpSocket.open({ family: 4, netns: ends[i % 6]?.netns });
    t.after(() => socket.close());
    return socket;
  });
  const start = performance.now();
  const expected = new Set<string>();
  const drain = (): void => {
    for (const socket of sockets) {
      for (let message = socket.receive(); message; message = socket.receive()) {
        if (message.type === 'reply') expected.delete(`${message.id} ${message.from} ${message.sequence}`);
      }
    }
  };
  for (const [i, socket] of sockets.entries()) {
    for (let j = 0; j < 6; j++) {
      if (j === i % 6) continue;
      const to = parseIp(`10.0.0.${j + 1}`);
      expected.add(`${socket.id} ${to} ${socket.send(to)}`);
    }
    drain();
  }
  for (let i = 0; expected.size > 0 && i < 50; i++) {
    await waitForMessages(sockets, 100);
    drain();
  }
  assert.deepEqual([...expected], []);
  t.diagnostic(`${count * 5} pings in ${Math.round(performance.now() - start)} ms`);
});
