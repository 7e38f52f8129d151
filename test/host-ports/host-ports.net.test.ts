import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { forgetStaleFlows } from '../../src/agent/flows/stale.ts';
import type { WiringName } from '../../src/cluster/wiring.ts';
import type { Family } from '../../src/ip/address.ts';
import { nthIp } from '../../src/ip/cidr.ts';
import { type Log, SILENT } from '../../src/log.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { RoutedPod, twoNodes } from '../wiring/routed-node.ts';
import { ask, type Question, Server } from './talk.ts';

const LOG: Log = { ...SILENT, warn: (fields, text) => assert.fail(`${text}: ${JSON.stringify(fields)}`) };
const PROTOCOLS = ['tcp', 'udp'] as const;
const BOTH = PROTOCOLS.map((protocol) => ({ protocol, hostPort: 8080, containerPort: 80 }));

/** Both wirings in dual stack; each family alone in one of them. */
const FAMILIES = { bridge: [[4, 6], [6]], routed: [[4, 6], [4]] } as const satisfies Partial<
  Record<WiringName, readonly (readonly Family[])[]>
>;

for (const wiring of ['bridge', 'routed'] as const satisfies readonly WiringName[]) {
  for (const families of FAMILIES[wiring]) {
    const name = `${wiring}, IPv${families.join(' and IPv')}: a host port leads to its pod from everywhere`;
    test(name, { skip: NO_KERNEL, timeout: 60_000 }, async () => {
      const plan: Plan = { size: 2, families, backend: { Type: 'host-gw' }, networks: 1 };
      await using pair = await twoNodes(plan, { wiring });
      const [node, other] = pair.nodes;
      node.namespace.ip('link set lo up');
      using web = new RoutedPod(`web-${wiring}-${families.join('')}`);
      using near = new RoutedPod(`near-${wiring}-${families.join('')}`);
      using far = new RoutedPod(`far-${wiring}-${families.join('')}`);
      await node.add(web, {}, { portMappings: BOTH });
      await node.add(near);
      await other.add(far);
      await node.running.settled(10_000);
      await other.running.settled(10_000);
      using _web = await Server.start(web.name, 'web', 80);
      using _near = await Server.start(near.name, 'near', 8080);
      using _host = await Server.start(node.namespace.name, 'host', 8080);
      for (const family of families) {
        const at = factsOf(plan, 0).self.underlay.addresses[family] ?? '';
        const outside = factsOf(plan, 1).self.underlay.addresses[family] ?? '';
        const [subnet] = factsOf(plan, 0).self.node.subnets.filter(
          (each) => each.includes(':') === (family === 6),
        );
        assert.ok(subnet);
        const gateway = wiring === 'bridge' ? nthIp(subnet, 1) : at;
        const questions = (...addresses: string[]): Question[] =>
          addresses.flatMap((address) => PROTOCOLS.map((protocol): Question => [protocol, address, 8080]));
        const twice = (...answers: string[]) => answers.flatMap((answer) => [answer, answer]);
        const own = (pod: RoutedPod) => pod.addresses.find((ip) => ip.includes(':') === (family === 6)) ?? '';
        assert.deepEqual(
          await ask(other.namespace.name, ...questions(at)),
          twice(`web ${outside}`),
          'another node',
        );
        assert.deepEqual(
          await ask(far.name, ...questions(at)),
          twice(`web ${outside}`),
          'a pod of another node',
        );
        assert.deepEqual(
          await ask(near.name, ...questions(at)),
          twice(`web ${wiring === 'bridge' ? gateway : own(near)}`),
          'a pod of this node',
        );
        assert.deepEqual(await ask(web.name, ...questions(at)), twice(`web ${gateway}`), 'the pod itself');
        assert.deepEqual(await ask(node.namespace.name, ...questions(at)), twice(`web ${at}`), 'the node');
        const loopback = family === 4 ? '127.0.0.1' : '::1';
        assert.deepEqual(
          await ask(node.namespace.name, ...questions(loopback)),
          twice(family === 4 ? `web ${gateway}` : 'host ::1'),
          'the node’s loopback',
        );
        if (family === 6) {
          const others = PROTOCOLS.map((protocol): Question => [protocol, '::1', 8080, 0, at]);
          assert.deepEqual(
            await ask(node.namespace.name, ...others, ['tcp', at, 8080, 0, '::1']),
            [...twice(`web ${at}`), 'host ::1'],
            'the node’s loopback, from another address, and the other way round',
          );
        }
        assert.deepEqual(
          await ask(other.namespace.name, ...questions(own(near))),
          twice(`near ${outside}`),
          'another pod’s port of the same number',
        );
      }
      await node.remove(web);
      await node.running.settled(10_000);
      const at = Object.values(factsOf(plan, 0).self.underlay.addresses);
      for (const address of at)
        assert.match((await ask(other.namespace.name, ['tcp', address, 8080])).join(), /^host /);
    });
  }
}

test('UDP flows follow a host port to a pod and away from it', {
  skip: NO_KERNEL,
  timeout: 60_000,
}, async () => {
  const plan: Plan = { size: 2, families: [4, 6], backend: { Type: 'host-gw' }, networks: 1 };
  await using pair = await twoNodes(plan, { wiring: 'bridge' });
  const [node, other] = pair.nodes;
  const { reports } = node.running;
  const made = async (): Promise<void> => {
    await node.running.settled(10_000);
    forgetStaleFlows(
      reports.splice(0).flatMap(({ done }) => done),
      LOG,
      node.namespace.path,
    );
  };
  using first = new RoutedPod('first');
  using second = new RoutedPod('second');
  using _host = await Server.start(node.namespace.name, 'host', 5353);
  using _first = await Server.start(first.name, 'first', 53);
  using _second = await Server.start(second.name, 'second', 53);
  const addresses = Object.values(factsOf(plan, 0).self.underlay.addresses);
  const mapping = { portMappings: [{ protocol: 'udp', hostPort: 5353, containerPort: 53 }] };
  // Always from the same port: one flow for the kernel.
  const answerer = async (label: string): Promise<void> => {
    for (const [i, address] of addresses.entries()) {
      for (let tries = 1; ; tries++) {
        const [answer = ''] = await ask(other.namespace.name, ['udp', address, 5353, 40_000 + i]);
        if (answer.startsWith(label)) break;
        assert.ok(tries < 5, `${address}: ${answer}, not ${label}`);
      }
    }
  };
  await answerer('host');
  await node.add(first, {}, mapping);
  await made();
  await answerer('first');
  await node.remove(first);
  await made();
  await answerer('host');
  await node.add(second, {}, mapping);
  await made();
  await answerer('second');
});

test('a port at one address, what passes, and who comes first', {
  skip: NO_KERNEL,
  timeout: 60_000,
}, async (t) => {
  const plan: Plan = { size: 2, families: [4, 6], backend: { Type: 'host-gw' }, networks: 1 };
  await using pair = await twoNodes(plan, { wiring: 'bridge', guard: false });
  const [node, other] = pair.nodes;
  const { namespace } = node;
  using pod = new RoutedPod('one');
  using attacker = new RoutedPod('attacker');
  const [at, second, outside] = ['172.16.0.2', '172.16.9.9', '172.16.0.3'];
  assert.equal(factsOf(plan, 0).self.underlay.addresses[4], at);
  namespace.ip('link set lo up');
  namespace.ip(`address add ${second}/32 dev lo`);
  other.namespace.ip(`route add ${second} via ${at}`);
  await node.add(attacker);
  await node.add(
    pod,
    {},
    {
      portMappings: [
        { hostPort: 8080, containerPort: 80, hostIP: at },
        { hostPort: 8081, containerPort: 80, hostIP: '127.0.0.1' },
        { hostPort: 8082, containerPort: 80, hostIP: '0.0.0.0' },
        { hostPort: 8083, containerPort: 80 },
      ],
    },
  );
  await node.running.settled(10_000);
  using _pod = await Server.start(pod.name, 'pod', 80);
  const from = (netns: string, address: string, port: number) => ask(netns, ['tcp', address, port]);

  await t.test('a port at one address leads nowhere from another', async () => {
    assert.deepEqual(await from(other.namespace.name, at, 8080), [`pod ${outside}`]);
    assert.deepEqual(await from(other.namespace.name, second, 8080), ['ECONNREFUSED']);
    assert.deepEqual(await from(other.namespace.name, second, 8082), [`pod ${outside}`]);
    const { addresses } = factsOf(plan, 0).self.underlay;
    assert.deepEqual(await from(other.namespace.name, addresses[6] ?? '', 8082), ['ECONNREFUSED']);
  });
  await t.test('a port at 127.0.0.1 is the node’s own', async () => {
    assert.deepEqual(await from(namespace.name, '127.0.0.1', 8081), ['pod 10.0.1.1']);
    assert.deepEqual(await from(other.namespace.name, at, 8081), ['ECONNREFUSED']);
  });
  await t.test('nobody reaches the node’s loopback, although its bridge routes it', async () => {
    assert.equal(namespace.run('sysctl', '-n', 'net/ipv4/conf/cni0/route_localnet').trim(), '1');
    namespace.run('sysctl', '-qw', 'net/ipv4/conf/eth0/route_localnet=1');
    using _secret = await Server.start(namespace.name, 'secret', 9998, '127.0.0.2');
    const attackers = [
      [attacker.name, '10.0.1.1'],
      [other.namespace.name, at],
    ] as const;
    // Packets for 127.0.0.2 leave by the wire.
    for (const [netns, via] of attackers) {
      execFileSync('ip', ['-n', netns, 'link', 'set', 'lo', 'down']);
      execFileSync('ip', ['-n', netns, 'route', 'add', '127.0.0.2', 'via', via]);
      for (const setting of ['conf/eth0/route_localnet=1', 'conf/eth0/rp_filter=0', 'conf/all/rp_filter=0'])
        execFileSync('ip', ['netns', 'exec', netns, 'sysctl', '-qw', `net/ipv4/${setting}`]);
      assert.deepEqual(await from(netns, '127.0.0.2', 9998), ['no answer'], netns);
    }
    // It is that chain, and nothing else, that stops them.
    node.running[Symbol.dispose]();
    namespace.run('nft', 'flush', 'chain', 'ip', 'flatnet-host-ports', 'martians');
    assert.match(`${await from(attacker.name, '127.0.0.2', 9998)}`, /^secret /);
  });
  await t.test('a service of kube-proxy with the same port comes first', async () => {
    namespace.run(
      'nft',
      'add table ip kube-proxy; add chain ip kube-proxy services { type nat hook prerouting priority dstnat; }; ' +
        `add rule ip kube-proxy services ip daddr ${second} tcp dport 8083 dnat to ${at}:8999`,
    );
    using _service = await Server.start(namespace.name, 'service', 8999);
    assert.deepEqual(await from(other.namespace.name, second, 8083), [`service ${outside}`]);
    assert.deepEqual(await from(other.namespace.name, at, 8083), [`pod ${outside}`]);
  });
});
