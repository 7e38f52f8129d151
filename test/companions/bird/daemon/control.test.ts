import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { NO_RESOURCES } from '../../../../src/cluster/resources.ts';
import { Bird } from '../../../../src/companions/bird/daemon/bird.ts';
import { BirdControl } from '../../../../src/companions/bird/daemon/control.ts';
import { readSecrets } from '../../../../src/companions/bird/secrets.ts';
import { SILENT } from '../../../../src/log.ts';

function temporary(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), `flatnet-bgp-${process.pid}-`));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A listener on a unix socket that sends `greeting`, and `answer` to any command. */
async function listener(t: TestContext, greeting: string, answer: string): Promise<string> {
  const path = join(temporary(t), 'sock');
  const server = createServer((socket) => {
    socket.write(greeting);
    socket.on('data', () => socket.write(answer));
  }).listen(path);
  await once(server, 'listening');
  t.after(() => server.close());
  return path;
}

test('no listener, not BIRD, no answer and a refusal give different errors', async (t) => {
  const none = join(temporary(t), 'none');
  await assert.rejects(BirdControl.open(none), { code: 'BIRD', message: /ENOENT/ });
  await assert.rejects(BirdControl.open(await listener(t, '220 smtp\n', ''), 50), { code: 'BIRD' });
  const mute = await listener(t, '', '');
  await assert.rejects(BirdControl.open(mute, 50), { code: 'BIRD', message: /no answer within 50 ms/ });

  const greeting = '0001 BIRD 2.0.12 ready.\n';
  const refusing = await BirdControl.open(await listener(t, greeting, '8002 bird.conf:1:1 syntax error\n'));
  t.after(() => refusing.control[Symbol.dispose]());
  assert.equal(refusing.version, '2.0.12');
  await assert.rejects(refusing.control.request('configure'), {
    code: 'BIRD',
    message: 'configure: bird.conf:1:1 syntax error',
  });

  const silent = await BirdControl.open(await listener(t, greeting, ''));
  await assert.rejects(silent.control.request('show status', 50), { message: /no answer within 50 ms/ });
  await silent.control.closed;
  await assert.rejects(silent.control.request('show status'), { message: /the connection is closed/ });
});

test('a BIRD that is missing or too old is refused', async (t) => {
  const folder = temporary(t);
  const kernelRoutes = async (): Promise<string[]> => [];
  const missing = new Bird({ folder, log: SILENT, program: '/nowhere/bird', kernelRoutes });
  await assert.rejects(missing.apply(''), {
    code: 'BIRD',
    message: /is not installed; install BIRD 2\.0\.12/,
  });
  const old = join(folder, 'bird');
  writeFileSync(old, '#!/bin/sh\necho BIRD version 2.0.7 >&2\n');
  chmodSync(old, 0o755);
  const bird = new Bird({ folder, log: SILENT, program: old, kernelRoutes });
  await assert.rejects(bird.apply(''), {
    code: 'BIRD',
    message: /is version 2\.0\.7; install BIRD 2\.0\.12/,
  });
});

test('secrets are files inside their folder that only root may read', (t) => {
  const folder = temporary(t);
  mkdirSync(join(folder, 'bgp'));
  writeFileSync(join(folder, 'bgp', 'good'), 'pass word\n', { mode: 0o600 });
  writeFileSync(join(folder, 'bgp', 'open'), 'x', { mode: 0o644 });
  // Reading it would hang the agent.
  execFileSync('mkfifo', ['-m', '600', join(folder, 'bgp', 'pipe')]);
  writeFileSync(join(folder, 'bgp', 'huge'), 'x'.repeat(5000), { mode: 0o600 });
  const peers = ['good', 'open', 'gone', '../bgp/good', 'pipe', 'huge'].map((key) => ({
    name: key,
    nextHopMode: 'Auto' as const,
    sourceAddress: 'UseNodeIP' as const,
    bfd: false,
    filters: [],
    password: { name: 'bgp', key },
  }));
  const { secrets, warnings } = readSecrets(folder, { ...NO_RESOURCES, bgpPeers: peers });
  assert.deepEqual([...secrets], [['bgp/good', 'pass word']]);
  assert.equal(warnings.length, 5);
  assert.match(
    warnings.join('\n'),
    /bgp\/open: .* chmod 600(.|\n)*bgp\/gone: ENOENT(.|\n)*is not a valid file name(.|\n)*pipe is not a file(.|\n)*huge has 5000 bytes/,
  );
});
