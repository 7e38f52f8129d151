import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SILENT } from '../../../src/log.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import { Transport } from '../../../src/store/kv/transport.ts';
import { openEtcd } from '../../../src/store/open.ts';
import { PREFIX, self, TestCluster } from '../etcd/cluster.ts';
import { eventually, NO_ETCD, startEtcd, temporaryFolder } from '../servers.ts';

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
    await assert.rejects(open('wrong').get('/net/a'), {
      code: 'STORE_UNAVAILABLE',
      message:
        /authentication failed, invalid user ID or password; check store\.username and store\.password/,
    });
    await assert.rejects(new EtcdKv({ endpoints: [server.endpoint] }).get('/net/a'), {
      code: 'STORE_UNAVAILABLE',
      message: /user name is empty; set store\.username and store\.password/,
    });
  });

  test('users are turned on under a running node: its lease runs out, and it says why', async (t) => {
    const server = await startEtcd();
    t.after(() => server.stop());
    const admin = new Transport({ endpoints: [server.endpoint] });
    t.after(() => admin.close());
    const cluster = new TestCluster(t, server.endpoint);
    await cluster.configure({ Network: '10.5.0.0/16' });
    const store = cluster.store({ leaseTtl: 5 });
    cluster.views(store);
    const claim = await store.membership.join(self(1), {});
    const { at, expires = at, problem } = claim.renewal;
    assert.ok(Math.abs(at.getTime() - Date.now()) < 2000);
    assert.equal(expires.getTime() - at.getTime(), 5000);
    assert.equal(problem, undefined);
    await eventually(() => claim.renewal.at > at, 10_000);
    await eventually(() => store.feed.problems.length === 0);
    await admin.call('/v3/auth/user/add', { name: 'root', password: 'secret' });
    await admin.call('/v3/auth/user/grant', { user: 'root', role: 'root' });
    await admin.call('/v3/auth/enable', {});
    // etcd renews a lease for anybody, as long as it exists.
    const root = new EtcdKv({ endpoints: [server.endpoint], username: 'root', password: 'secret' });
    t.after(() => root.close());
    const lease = (await root.get(`${PREFIX}/flatnet/nodes/node1`))?.lease;
    await root.revoke(lease ?? '');
    await eventually(() => claim.renewal.expires && claim.renewal.expires < new Date(), 10_000);
    await eventually(() => claim.renewal.problem);
    assert.match(claim.renewal.problem ?? '', /user name is empty; set store\.username/);
  });

  test('what answers is no etcd: its words are told', async (t) => {
    let [status, text] = [400, '<html>\n<h1>Bad gateway</h1>'];
    const server = createServer((_, response) => response.writeHead(status).end(text));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    const kv = new EtcdKv({ endpoints: [`http://127.0.0.1:${port}`] });
    t.after(() => kv.close());
    const code = 'STORE_UNAVAILABLE';
    await assert.rejects(kv.get('/a'), { code, message: /HTTP status 400: <html> <h1>Bad gateway<\/h1>/ });
    status = 502;
    await assert.rejects(kv.get('/a'), { code, message: /HTTP status 502: <html>/ });
    status = 200;
    await assert.rejects(kv.get('/a'), { code, message: /the answer is not JSON: <html> / });
    text = 'x'.repeat(5_000_000);
    status = 500;
    const error = await kv.get('/a').catch((failure: unknown) => failure);
    assert.ok(String(error).length < 500);
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
    const store = openEtcd({ endpoints, tls: files }, SILENT);
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
    // With users, etcd's gateway refuses client certificates that have a common name.
    const tls = { ca, cert: readFileSync(files.certFile, 'utf8'), key: readFileSync(files.keyFile, 'utf8') };
    const admin = new Transport({ endpoints, tls });
    t.after(() => admin.close());
    await admin.call('/v3/auth/user/add', { name: 'root', password: 'secret' });
    await admin.call('/v3/auth/user/grant', { user: 'root', role: 'root' });
    await admin.call('/v3/auth/enable', {});
    const named = new EtcdKv({ endpoints, tls, username: 'root', password: 'secret' });
    t.after(() => named.close());
    await assert.rejects(named.get('/a'), {
      code: 'STORE_UNAVAILABLE',
      message:
        /CommonName of client sending a request against gateway will be ignored.*; use a client certificate without a CN/,
    });
    const missing = { endpoints, tls: { caFile: path('none') } };
    assert.throws(() => openEtcd(missing, SILENT), { code: 'IO', message: /store\.tls\.caFile/ });
  });
});
