import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Transport } from '../../src/store/kv/transport.ts';
import { NO_ETCD, startEtcd } from '../store/servers.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');

test('commands log in to an etcd with users; the password is no argument', { skip: NO_ETCD }, async (t) => {
  const server = await startEtcd();
  t.after(() => server.stop());
  const admin = new Transport({ endpoints: [server.endpoint] });
  t.after(() => admin.close());
  await admin.call('/v3/auth/user/add', { name: 'root', password: 'secret' });
  await admin.call('/v3/auth/role/add', { name: 'root' });
  await admin.call('/v3/auth/user/grant', { user: 'root', role: 'root' });
  await admin.call('/v3/auth/enable', {});
  const get = (password: string, ...words: string[]): Promise<{ stdout: string }> => {
    const argv = [
      '--disable-warning=ExperimentalWarning',
      MAIN,
      'get',
      'pools',
      '--endpoint',
      server.endpoint,
    ];
    const env = { ...process.env, FLATNET_STORE_PASSWORD: password };
    return promisify(execFile)(process.execPath, [...argv, ...words], { env });
  };
  assert.equal((await get('secret', '--username', 'root')).stdout, 'no IPPool\n');
  await assert.rejects(get('secret'), /user name is empty/);
  await assert.rejects(get('wrong', '--username', 'root'), /authentication failed/);
});
