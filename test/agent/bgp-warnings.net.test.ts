import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askAgent } from '../../src/agent/client.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { BgpCluster, until } from './bgp-cluster.ts';

test('a session that cannot be is told of, though BIRD’s configuration is as before', {
  skip: NO_KERNEL,
}, async () => {
  await using cluster = await BgpCluster.up(1);
  const socket = cluster.lab.paths.node('node1').agentSocket;
  const known = async (): Promise<(readonly string[])[]> => [
    (await cluster.bgpStatus('node1')).warnings,
    (await askAgent<{ warnings: readonly string[] }>(socket, { op: 'status' })).warnings,
  ];
  assert.deepEqual(await known(), [[], []]);
  await cluster.apply({
    kind: 'BGPPeer',
    metadata: { name: 'secretive' },
    spec: { peerIP: '172.30.0.1', asNumber: 65001, password: { secretKeyRef: { name: 'none', key: 'pw' } } },
  });
  await until(30_000, async () =>
    (await known()).flatMap((warnings) =>
      ['BGPPeer secretive: no session with 172.30.0.1', 'secret none/pw'].filter(
        (text) => !warnings.some((warning) => warning.includes(text)),
      ),
    ),
  );
});
