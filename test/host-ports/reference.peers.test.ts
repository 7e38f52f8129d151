import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { withNetns } from '../../src/linux/netns.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { Host, must, Pod } from '../cni/host.ts';
import { NO_REFERENCE, REFERENCE } from '../cni/reference.ts';
import { type RoutedNode, RoutedPod, twoNodes } from '../wiring/routed-node.ts';
import { ask, type Question, Server } from './talk.ts';

const PLAN: Plan = { size: 2, families: [4, 6], backend: { Type: 'host-gw' }, networks: 1 };
const RUNTIME = {
  portMappings: [
    { hostPort: 8080, containerPort: 80, protocol: 'tcp' },
    { hostPort: 8080, containerPort: 80, protocol: 'udp' },
    { hostPort: 8081, containerPort: 80, protocol: 'tcp', hostIP: '172.16.0.2' },
    { hostPort: 8082, containerPort: 80, protocol: 'tcp', hostIP: '127.0.0.1' },
  ],
  bandwidth: { ingressRate: 8e6, ingressBurst: 8e5, egressRate: 16e6, egressBurst: 8e5 },
};

/** A pod attached by the reference plugins, with the answers' addresses in place of ours. */
class Reference implements Disposable {
  readonly #dir = mkdtempSync(join(tmpdir(), 'flatnet-reference-'));
  readonly #netns: string;

  constructor(netns: string) {
    this.#netns = netns;
  }

  /** Calls `bridge`, and the others in its wake. */
  add(pod: RoutedPod, runtimeConfig: object): void {
    // Outside our own network, whose masquerading would show.
    const ranges = [[{ subnet: '192.168.77.0/24' }], [{ subnet: 'fd77::/64' }]];
    const ipam = { type: 'host-local', dataDir: this.#dir, ranges };
    const bridge = { type: 'bridge', bridge: 'br77', isDefaultGateway: true, hairpinMode: true, ipam };
    let result = this.#call('bridge', pod, bridge);
    for (const type of ['portmap', 'bandwidth'])
      result = this.#call(type, pod, { type, runtimeConfig, prevResult: JSON.parse(result) });
  }

  #call(plugin: string, pod: RoutedPod, conf: object): string {
    return withNetns(this.#netns, () =>
      execFileSync(join(REFERENCE, plugin), {
        input: JSON.stringify({ cniVersion: '1.0.0', name: 'reference', ...conf }),
        encoding: 'utf8',
        env: {
          PATH: process.env.PATH,
          CNI_COMMAND: 'ADD',
          CNI_CONTAINERID: pod.name,
          CNI_NETNS: pod.netns,
          CNI_IFNAME: 'eth0',
          CNI_PATH: REFERENCE,
        },
      }),
    );
  }

  [Symbol.dispose](): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** Who answers whom at which address and port, and whether with the client's own address. */
async function answers(node: RoutedNode, other: RoutedNode, pod: RoutedPod, near: RoutedPod) {
  const { addresses } = factsOf(PLAN, 0).self.underlay;
  const [v4 = '', v6 = ''] = [addresses[4], addresses[6]];
  const far = factsOf(PLAN, 1).self.underlay.addresses;
  const clients = {
    outside: other.namespace.name,
    node: node.namespace.name,
    near: near.name,
    pod: pod.name,
  };
  const questions: Question[] = [
    ['tcp', v4, 8080],
    ['udp', v4, 8080],
    ['tcp', v6, 8080],
    ['tcp', v4, 8081],
    ['tcp', v6, 8081],
    ['tcp', v4, 8082],
  ];
  const local: Question[] = ['tcp', 'udp'].map((protocol) => [
    protocol === 'tcp' ? 'tcp' : 'udp',
    '127.0.0.1',
    8080,
  ]);
  const lines: string[] = [];
  for (const [client, netns] of Object.entries(clients)) {
    const asked =
      client === 'node' ? [...questions, ...local, ['tcp', '127.0.0.1', 8082] as const] : questions;
    for (const [i, answer] of (await ask(netns, ...asked)).entries()) {
      const [label = '', source = ''] = answer.split(' ');
      const seen = source === far[4] || source === far[6] ? 'outside' : source === '' ? '' : 'inside';
      lines.push(
        `${client} asks ${asked[i]?.join(' ')}: ${label} ${client === 'outside' ? seen : ''}`.trim(),
      );
    }
  }
  return lines;
}

/** The rates at a node, in the order of their size. */
function rates(node: RoutedNode): string[] {
  const disciplines = node.namespace.run('tc', 'qdisc', 'show');
  return [...disciplines.matchAll(/tbf .*?rate (\S+)/g)].map(([, rate = '']) => rate).sort();
}

test('host ports and bandwidth are as with the reference plugins', {
  skip: NO_REFERENCE,
  timeout: 60_000,
}, async () => {
  const run = async (attach: (node: RoutedNode, pods: readonly [RoutedPod, RoutedPod]) => Promise<void>) => {
    await using pair = await twoNodes(PLAN, { wiring: 'bridge' });
    const [node, other] = pair.nodes;
    node.namespace.ip('link set lo up');
    using pod = new RoutedPod('oracle');
    using near = new RoutedPod('oracle-near');
    await attach(node, [pod, near]);
    await node.running.settled(10_000);
    // The reference waits for duplicate address detection in the pod, but not on the bridge.
    const tentative = () => [node.namespace, pod].some((each) => each.ip('-6 address show tentative') !== '');
    for (let i = 0; i < 30 && tentative(); i++) await sleep(100);
    using _server = await Server.start(pod.name, 'pod', 80);
    return { answers: await answers(node, other, pod, near), rates: rates(node) };
  };
  const ours = await run(async (node, [pod, near]) => {
    await node.add(pod, {}, RUNTIME);
    await node.add(near);
  });
  const theirs = await run(async (node, [pod, near]) => {
    using reference = new Reference(node.namespace.path);
    reference.add(pod, RUNTIME);
    reference.add(near, {});
  });
  assert.deepEqual(ours, theirs);
  assert.deepEqual(ours.rates, ['16Mbit', '8Mbit']);
  assert.ok(ours.answers.includes('outside asks tcp 172.16.0.2 8080: pod outside'), ours.answers.join('\n'));
});

test('chained after the reference bridge, we lead host ports to its pod', {
  skip: NO_REFERENCE,
}, async () => {
  await using host = new Host();
  using pod = new Pod();
  const prevResult = {
    cniVersion: '1.0.0',
    interfaces: [{ name: 'eth0', sandbox: pod.path }],
    ips: [{ address: '10.7.0.2/24', interface: 0 }],
  };
  execFileSync('ip', ['-n', host.netns, 'link', 'add', 'br7', 'type', 'bridge']);
  execFileSync('ip', [
    '-n',
    host.netns,
    'link',
    'add',
    'veth7',
    'master',
    'br7',
    'type',
    'veth',
    'peer',
    'name',
    'eth0',
    'netns',
    pod.name,
  ]);
  const named = { ...prevResult, interfaces: [{ name: 'veth7' }, ...prevResult.interfaces] };
  const conf = {
    prevResult: { ...named, ips: [{ address: '10.7.0.2/24', interface: 1 }] },
    runtimeConfig: RUNTIME,
  };
  await must(host, 'ADD', { pod, conf });
  const [known] = [...host.pods.values()];
  assert.equal(known?.leadsVia, 'br7');
  assert.equal(known?.hostPorts?.length, 4);
  assert.equal(known?.bandwidth?.ingress?.rate, 1e6);
});
