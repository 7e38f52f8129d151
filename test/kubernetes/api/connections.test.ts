import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { TLSSocket } from 'node:tls';
import type { TlsMaterial } from '../../../src/kubernetes/access/access.ts';
import { Connections } from '../../../src/kubernetes/api/connections.ts';
import { Authority } from '../pki.ts';

test('a client certificate that is being replaced: the earlier one serves until its key has come, too', async (t) => {
  const { connections, material, user } = await serverThatNamesUsers(t);
  const [first, second] = [material('first'), material('second')];
  assert.equal(await user(first), 'first');

  const half = { ...first, cert: second.cert };
  assert.equal(await user(half), 'first');
  assert.equal(await user(second), 'second');

  const later = performance.now() + 31_000;
  assert.equal(await user(half), 'second');
  t.mock.method(performance, 'now', () => later);
  const refusal = { code: 'CONFIG_INVALID', object: 'client certificate for the Kubernetes API' };
  assert.throws(() => connections.request({ path: '/' }, half), refusal);
  assert.equal(await user(first), 'first');
});

test('a client certificate that cannot be used is named, at the first request', async (t) => {
  const { connections, material } = await serverThatNamesUsers(t);
  const { ca, cert, key } = material('user');
  for (const broken of [
    { ca, cert, key: material('other').key },
    { ca, cert: 'no PEM', key },
  ]) {
    assert.throws(() => connections.request({ path: '/' }, broken), { code: 'CONFIG_INVALID' });
  }
});

type Material = Required<Pick<TlsMaterial, 'ca' | 'cert' | 'key'>>;

/** A server on loopback that answers with the name in the client's certificate. */
async function serverThatNamesUsers(t: TestContext): Promise<{
  readonly connections: Connections;
  readonly material: (user: string) => Material;
  readonly user: (tls: TlsMaterial) => Promise<string>;
}> {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-tls-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const authority = new Authority(folder);
  const read = ({ cert, key }: { cert: string; key: string }): Material => ({
    ca: authority.text,
    cert: readFileSync(cert, 'utf8'),
    key: readFileSync(key, 'utf8'),
  });
  const server = createServer({ ...read(authority.server()), requestCert: true }, ({ socket }, response) => {
    assert.ok(socket instanceof TLSSocket);
    response.end(socket.getPeerCertificate().subject.CN);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  t.after(() => server.close());
  const connections = new Connections(`https://127.0.0.1:${(server.address() as AddressInfo).port}`);
  t.after(() => connections.close());
  return {
    connections,
    material: (user) => read(authority.client(user)),
    user: (tls) =>
      new Promise((resolve, reject) => {
        const request = connections.request({ path: '/' }, tls);
        request.once('error', reject);
        request.once('response', async (response) =>
          resolve(Buffer.concat(await response.toArray()).toString()),
        );
        request.end();
      }),
  };
}
