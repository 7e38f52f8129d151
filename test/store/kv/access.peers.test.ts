import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SILENT } from '../../../src/log.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import { Transport } from '../../../src/store/kv/transport.ts';
import { openStore } from '../../../src/store/open.ts';
import { NO_ETCD, startEtcd, temporaryFolder } from '../servers.ts';

describe('etcd with authentication', { skip: NO_ETCD }, () => {
  test('user and password: a token, and a new one when it expires', async (t) => {
    const server = await startEtcd(['--auth-token-ttl=1']);
    t.after(() => server.stop());
    const admin = new Transport({ endpoints: [server.endpoint] });
    t.after(() => admin.close());
    for (const name of ['root', 'agent']) {
      await admin.call('/v3/auth/user/add', { name, password: `${name}-secret` });
      await admin.call('/v3/auth/role/add', { name });
      await admin.call('/v3/auth/user/grant', { user: name, role: name });
    }
    const range = {
      key: Buffer.from('/net/').toString('base64'),
      range_end: Buffer.from('/net0').toString('base64'),
    };
    await admin.call('/v3/auth/role/grant', { name: 'agent', perm: { permType: 'READWRITE', ...range } });
    await admin.call('/v3/auth/enable', {});

    const open = (password: string): EtcdKv => {
      const kv = new EtcdKv({ endpoints: [server.endpoint], username: 'agent', password });
      t.after(() => kv.close());
      return kv;
    };
    const kv = open('agent-secret');
    await kv.put('/net/a', '1');
    await assert.rejects(kv.put('/elsewhere', '1'), {
      code: 'STORE_UNAVAILABLE',
      message: /permission denied/,
    });
    // Tokens in use are extended; this one is not used.
    await sleep(2_500);
    assert.equal((await kv.get('/net/a'))?.value, '1');
    await sleep(2_500);
    const abort = new AbortController();
    const watch = async (): Promise<void> => {
      for await (const _ of kv.watch('/net/', 1, abort.signal)) abort.abort();
    };
    // A watch with an expired token gets "permission denied"; the next one uses a new token.
    await watch().catch(() => watch());
    assert.ok(abort.signal.aborted);
    const error = await open('wrong')
      .get('/net/a')
      .catch((failure: unknown) => failure);
    assert.match(String(error), /authentication failed/);
    assert.ok(!String(error).includes('wrong'), 'no password in an error');
    await assert.rejects(new EtcdKv({ endpoints: [server.endpoint] }).get('/net/a'), /user name is empty/);
  });

  test('TLS with certificates on both sides', async (t) => {
    const folder = temporaryFolder();
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const path = (name: string): string => join(folder, name);
    const openssl = (...args: string[]): void => void execFileSync('openssl', args, { stdio: 'pipe' });
    const pair = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    openssl(
      'req',
      '-x509',
      ...pair,
      '-keyout',
      path('ca.key'),
      '-out',
      path('ca.crt'),
      '-subj',
      '/CN=ca',
      '-days',
      '2',
    );
    for (const name of ['server', 'client']) {
      const signed = ['-CA', path('ca.crt'), '-CAkey', path('ca.key'), '-days', '2'];
      const use = 'extendedKeyUsage=serverAuth,clientAuth';
      const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1', '-addext', use];
      openssl(
        'req',
        '-x509',
        ...pair,
        '-keyout',
        path(`${name}.key`),
        '-out',
        path(`${name}.crt`),
        ...subject,
        ...signed,
      );
    }
    const server = await startEtcd(
      [
        `--cert-file=${path('server.crt')}`,
        `--key-file=${path('server.key')}`,
        `--trusted-ca-file=${path('ca.crt')}`,
        '--client-cert-auth=true',
      ],
      'https',
    );
    t.after(() => server.stop());
    const endpoints = [server.endpoint];
    const files = { caFile: path('ca.crt'), certFile: path('client.crt'), keyFile: path('client.key') };
    const store = openStore({ endpoints, tls: files }, SILENT);
    t.after(() => store.close());
    for (let tries = 0; ; tries++) {
      const code = await store.network.read().catch((error: { code: string }) => error.code);
      if (code === 'NOT_FOUND') break;
      assert.ok(tries < 50, String(code));
      await sleep(100);
    }
    const ca = readFileSync(files.caFile, 'utf8');
    const anonymous = new EtcdKv({ endpoints, tls: { ca } });
    await assert.rejects(anonymous.get('/a'), { code: 'STORE_UNAVAILABLE' });
    const trusting = new EtcdKv({ endpoints });
    await assert.rejects(trusting.get('/a'), { code: 'STORE_UNAVAILABLE', message: /certificate/ });
    for (const kv of [anonymous, trusting]) kv.close();
    const missing = { endpoints, tls: { caFile: path('none') } };
    assert.throws(() => openStore(missing, SILENT), { code: 'IO', message: /store\.tls\.caFile/ });
  });
});
