import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Plan } from '../backends/cluster.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { RoutedPod, twoNodes } from '../wiring/routed-node.ts';
import { frame, PROTOCOL, packet, TYPE, udp } from './packets.ts';
import { Wire } from './wire.ts';

const PLAN: Plan = {
  size: 2,
  families: [4, 6],
  backend: { Type: 'vxlan', onDemand: true },
  networks: 1,
};

/** More than a scan may get through in the time it takes, and less than the kernel's limit. */
const FEW = 200;
const SCANNED = 800;

for (const family of [4, 6] as const) {
  test(`IPv${family}: a pod that scans the network does not fill the neighbour table`, {
    skip: NO_KERNEL,
  }, async (t) => {
    await using pair = await twoNodes(PLAN, { wiring: 'bridge' });
    const [node, other] = pair.nodes;
    using pod = new RoutedPod('scanner');
    using remote = new RoutedPod('far');
    await node.add(pod);
    await other.add(remote);
    await node.running.settled();
    node.running[Symbol.dispose]();
    const own = pod.addresses[family === 4 ? 0 : 1] ?? '';
    const dev = family === 4 ? 'flannel.1' : 'flannel-v6.1';
    const gateway = /link\/ether (\S+)/.exec(node.namespace.ip('link show cni0'))?.[1] ?? '';

    const entries = async (): Promise<number> => {
      node.namespace.ip(`neigh flush dev ${dev}`);
      using wire = new Wire(pod.netns, 'eth0');
      for (let i = 0; i < SCANNED; i++) {
        const [high, low] = [2 + (i >> 8), i & 0xff];
        const dst = family === 4 ? `10.0.${high}.${low}` : `fd10:0:0:${high}::${low.toString(16)}`;
        const bytes = packet(own, dst, PROTOCOL.udp, udp(own, dst, [4242, 4343], Buffer.alloc(8)));
        wire.send(frame(gateway, pod.mac, family === 4 ? TYPE.ip : TYPE.ip6, bytes));
      }
      await sleep(50);
      return node.namespace.ip(`-${family} neigh show dev ${dev} nud all`).split('\n').filter(Boolean).length;
    };

    await t.test('with the limit', async () => {
      const count = await entries();
      assert.ok(count > 0 && count < FEW, `${count} entries`);
    });
    await t.test('whereas without it', async () => {
      node.namespace.run('nft', `delete table ${family === 4 ? 'ip' : 'ip6'} flatnet-scans`);
      const count = await entries();
      assert.ok(count > SCANNED / 2, `${count} entries`);
    });
  });
}
