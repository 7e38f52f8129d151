import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { WiringName } from '../../src/cluster/wiring.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { type RoutedNode, RoutedPod, twoNodes } from '../wiring/routed-node.ts';

const PLAN: Plan = { size: 2, families: [4, 6], backend: { Type: 'host-gw' }, networks: 1 };
const NO_BURST = 4_294_967_295;
/** Mbit/s. */
const [INGRESS, EGRESS] = [30, 50];

/** Mbit/s that arrive through one TCP connection; `-R`: from the server. */
async function measured(netns: string, server: string, ...options: string[]): Promise<number> {
  const args = ['netns', 'exec', netns, 'iperf3', '-J', '-t', '4', '-c', server, ...options];
  const { stdout } = await promisify(execFile)('ip', args);
  const { end } = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second / 1e6;
}

/** Never much more than the limit, and as much as that at least once: a busy machine sends less. */
async function isLimited(what: string, limit: number, measure: () => Promise<number>): Promise<void> {
  const rates: number[] = [];
  while (rates.length < 3 && !rates.some((rate) => rate > 0.9 * limit)) rates.push(await measure());
  const text = `${what} ${rates.join(', ')} Mbit/s of ${limit}`;
  assert.ok(Math.max(...rates) > 0.9 * limit && Math.max(...rates) < 1.1 * limit, text);
}

function tc(node: RoutedNode, dev: string): string {
  return node.namespace.run('tc', 'qdisc', 'show', 'dev', dev);
}

for (const wiring of ['bridge', 'routed'] as const satisfies readonly WiringName[]) {
  test(`${wiring}: a pod’s bandwidth is limited within 10 %`, {
    skip: NO_KERNEL,
    timeout: 90_000,
  }, async () => {
    await using pair = await twoNodes(PLAN, { wiring });
    const [node, other] = pair.nodes;
    using pod = new RoutedPod(`slow-${wiring}`);
    using free = new RoutedPod(`free-${wiring}`);
    const bandwidth = {
      ingressRate: INGRESS * 1e6,
      ingressBurst: NO_BURST,
      egressRate: EGRESS * 1e6,
      egressBurst: NO_BURST,
    };
    await node.add(pod, {}, { bandwidth });
    await node.add(free);
    await node.running.settled(10_000);
    const server = spawn('ip', ['netns', 'exec', other.namespace.name, 'iperf3', '-s', '--forceflush'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await once(server.stdout, 'data');
      const { addresses } = factsOf(PLAN, 1).self.underlay;
      const at = (wiring === 'bridge' ? addresses[4] : addresses[6]) ?? '';
      await isLimited('sent', EGRESS, () => measured(pod.name, at));
      await isLimited('received', INGRESS, () => measured(pod.name, at, '-R'));
      const unlimited = await measured(free.name, at);
      assert.ok(unlimited > 4 * EGRESS, `another pod sent ${unlimited} Mbit/s`);
    } finally {
      server.kill();
    }
    const ifb = /ifb-[0-9a-f]{11}/.exec(node.namespace.ip('link show type ifb'))?.[0] ?? '';
    const damages = [
      ['tc', 'qdisc', 'del', 'dev', pod.device, 'root'],
      ['tc', 'qdisc', 'del', 'dev', pod.device, 'ingress'],
      ['tc', 'filter', 'del', 'dev', pod.device, 'parent', 'ffff:'],
      [
        'tc',
        'qdisc',
        'change',
        'dev',
        ifb,
        'root',
        'handle',
        'f1a7:',
        'tbf',
        'rate',
        '1gbit',
        'burst',
        '9000',
        'limit',
        '9000',
      ],
      ['ip', 'link', 'del', ifb],
    ] as const;
    for (const [program, ...args] of damages) {
      node.namespace.run(program, ...args);
      await node.running.settled(10_000);
      const filter = node.namespace.run('tc', 'filter', 'show', 'dev', pod.device, 'parent', 'ffff:');
      const what = [program, ...args].join(' ');
      assert.match(filter, new RegExp(`mirred.* Redirect to device ${ifb}`), what);
      assert.match(tc(node, ifb), /tbf f1a7: root .*rate 50Mbit/, what);
      assert.match(tc(node, pod.device), /tbf f1a7: root .*rate 30Mbit/, what);
    }
    await node.remove(pod);
    await node.running.settled(10_000);
    assert.doesNotMatch(node.namespace.ip('link'), /ifb-/);
  });
}

test('the largest packets pass, however small the burst that a pod asks for', {
  skip: NO_KERNEL,
  timeout: 60_000,
}, async () => {
  await using pair = await twoNodes(PLAN, { wiring: 'bridge' });
  const [node, other] = pair.nodes;
  using pod = new RoutedPod('small-burst');
  const small = { ingressRate: 10e6, ingressBurst: 8000, egressRate: 10e6, egressBurst: 8000 };
  await node.add(pod, {}, { bandwidth: small });
  await node.running.settled(10_000);
  const { addresses } = factsOf(PLAN, 1).self.underlay;
  // As large as a packet may be: 20 and 8 bytes are headers.
  const size = `${Number(/mtu (\d+)/.exec(pod.ip('link show eth0'))?.[1]) - 28}`;
  const sent = pod.run('ping', '-c3', '-i0.2', '-W1', '-Mdo', '-s', size, `${addresses[4]}`);
  assert.match(sent, /3 received/);
  const back = other.namespace.run('ping', '-c3', '-i0.2', '-W1', '-Mdo', '-s', size, `${pod.addresses[0]}`);
  assert.match(back, /3 received/);
  assert.equal(node.warnings.length, 2, 'both directions are logged');
  assert.match(JSON.stringify(node.warnings), /allows more at once than it asks for/);
});
