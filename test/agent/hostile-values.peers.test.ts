import { once } from 'node:events';
import { rmSync } from 'node:fs';
import net from 'node:net';
import { test } from 'node:test';
import { agentStatus } from '../../src/lab/machine/agent.ts';
import { stopStore } from '../../src/lab/machine/store.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { EtcdKv } from '../../src/store/kv/client.ts';
import { withKv } from '../store/lab.ts';
import { eventually, NO_ETCD, startEtcd } from '../store/servers.ts';
import { LAYOUT } from './cluster.ts';
import { anyValue, badConfig, damagedLease, mutatedValues } from './hostile-values.ts';

/** Puts a real etcd behind the lab's socket. Agents write their own keys again; the others are copied. */
async function etcd(lab: Lab): Promise<AsyncDisposable> {
  const { items } = await withKv(lab, (kv) => kv.list(LAYOUT.root));
  const server = await startEtcd();
  const { hostname, port } = new URL(server.endpoint);
  const kv = new EtcdKv({ endpoints: [server.endpoint] });
  for (const { key, value, lease } of items) if (lease === '0') await kv.put(key, value);
  await stopStore(lab);
  const sockets = new Set<net.Socket>();
  const proxy = net.createServer((client) => {
    const upstream = net.connect(Number(port), hostname);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.pipe(to);
      from.on('error', () => to.destroy()).on('close', () => sockets.delete(from));
    }
  });
  rmSync(lab.paths.storeSocket, { force: true });
  await once(proxy.listen(lab.paths.storeSocket), 'listening');
  // The agents have noticed once they have written again, and believe it once nothing is lost.
  for (const name of lab.nodes.map((node) => node.name)) {
    await eventually(async () => {
      const { problems = [] } = (await agentStatus(lab, name)) ?? {};
      return (await kv.get(LAYOUT.node(name))) && !problems.some(({ id }) => id.startsWith('store-'));
    }, 30_000);
  }
  kv.close();
  return {
    [Symbol.asyncDispose]: async () => {
      proxy.close();
      for (const socket of sockets) socket.destroy();
      await server.stop();
    },
  };
}

const options = { skip: NO_ETCD };

test('etcd: a bad network/config leaves the last good one in force', options, () => badConfig(etcd));
test('etcd: any value under any key', options, (t) => anyValue(t, etcd));
test('etcd: a peer whose lease is damaged stays reachable', options, () => damagedLease(etcd));
test('etcd: mutated values of every kind', options, (t) => mutatedValues(t, etcd));
