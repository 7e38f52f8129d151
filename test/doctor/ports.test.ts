import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { configuredBackend } from '../../src/backends/registry.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import { portFindings } from '../../src/doctor/ports.ts';

function findings(backend: object) {
  return portFindings(configuredBackend(readNetwork({ Network: '10.244.0.0/16', Backend: backend })));
}

test('a port that another program has', async (t) => {
  for (const type of ['udp4', 'udp6'] as const) {
    const socket = createSocket(type);
    socket.bind(0, type === 'udp4' ? '127.0.0.1' : '::1');
    t.after(() => socket.close());
    await once(socket, 'listening');
    const { port } = socket.address();
    const [found, ...more] = findings({ Type: 'vxlan', Port: port });
    assert.deepEqual(more, []);
    assert.equal(found?.state, 'wrong');
    assert.match(found?.what ?? '', new RegExp(`^UDP ${port} is taken by .+ \\(pid ${process.pid}\\)$`));
    assert.equal(found?.cause, 'backend vxlan needs it');
  }
});

test('a backend without ports', () => {
  const [found] = findings({ Type: 'host-gw' });
  assert.deepEqual([found?.state, found?.what], ['ok', 'backend host-gw needs none']);
});
