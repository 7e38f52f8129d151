import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { BlockAssigner } from '../../src/ipam/blocks/block-assigner.ts';
import { SILENT } from '../../src/log.ts';
import { EtcdStore } from '../../src/store/etcd/store.ts';
import { EtcdKv } from '../../src/store/kv/client.ts';
import { pool } from '../ipam/blocks/plan.ts';
import { startEmbedded } from '../store/servers.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');
const PREFIX = '/test';

type Ran = { readonly status: number; readonly out: string; readonly err: string };

test('flatnet ipam: show, check, configure, release', async (t) => {
  const server = await startEmbedded();
  const kv = new EtcdKv({ endpoints: [server.endpoint] });
  t.after(async () => {
    kv.close();
    await server.stop();
  });
  const { resources, blocks } = new EtcdStore(kv, { prefix: PREFIX }, SILENT);
  const ipam = (...words: string[]): Promise<Ran> => flatnet('ipam', ...words);
  const flatnet = async (...words: string[]): Promise<Ran> => {
    const store = ['--endpoint', server.endpoint, '--prefix', PREFIX];
    const argv = ['--disable-warning=ExperimentalWarning', MAIN, ...words, ...store];
    try {
      const { stdout, stderr } = await promisify(execFile)(process.execPath, argv);
      return { status: 0, out: stdout, err: stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { status: code, out: stdout, err: stderr };
    }
  };

  const configured = await ipam('configure', '--max-blocks-per-host', '1', '--json');
  assert.equal(JSON.parse(configured.out).maxBlocksPerHost, 1);
  assert.match((await ipam('configure')).out, /maxBlocksPerHost: 1\n/);
  assert.equal((await ipam('configure', '--strict-affinity', 'perhaps')).status, 2);

  await resources.apply({
    apiVersion: 'projectcalico.org/v3',
    kind: 'IPPool',
    metadata: { name: 'p' },
    spec: { cidr: '10.1.0.0/24', blockSize: 30 },
  });
  const ipPools = [pool('p', '10.1.0.0/24', 30)];
  const node = (name: string): BlockAssigner =>
    new BlockAssigner({
      store: blocks,
      node: name,
      nodeLabels: () => ({}),
      resources: () => ({ ipPools, ipReservations: [] }),
    });
  const assign = (at: string, handle: string): Promise<unknown> =>
    node(at).assign({ handle, families: [4], attributes: { pod: handle, namespace: 'shop' } });
  assert.equal((await ipam('show', '--borrowed')).out, 'no borrowed addresses\n');
  await assign('node2', 'theirs');
  for (let i = 0; i < 5; i++) await assign('node1', `pod${i}`);

  const show = await ipam('show', '--blocks');
  assert.match(show.out, /^GROUPING +CIDR +NODE +IPS TOTAL +IPS IN USE +IPS FREE\n/);
  assert.match(show.out, /^IPPool p +10\.1\.0\.0\/24 +256 +6 \(2%\) +250 \(98%\)$/m);
  assert.match(show.out, /^ {2}Block +10\.1\.0\.\d+\/30 +node1 +4 +4 \(100%\) +0 \(0%\)$/m);
  assert.match((await ipam('show', '--borrowed')).out, /node1 +10\.1\.0\.\d+\/30 +node2 +shop\/pod4$/m);
  assert.equal(JSON.parse((await ipam('show', '--json')).out)[0].used, 6);

  const check = await ipam('check');
  assert.deepEqual([check.status, check.err], [0, '']);
  assert.match(check.out, /^2 blocks of 2 nodes, 6 addresses in use \(1 borrowed\), 1 handles\n/);
  const [handle] = await blocks.handles(['pod4']);
  await blocks.deleteHandle('pod4', handle ?? assert.fail());
  const wrong = await ipam('check');
  assert.equal(wrong.status, 1);
  assert.match(wrong.out, /error +ALLOCATION_WITHOUT_HANDLE +10\.1\.0\.\d+ +is held by pod4/);
  assert.match(wrong.out, /found 1 errors/);

  const release = await ipam('release', '--node', 'node1');
  assert.match(release.out, /^released 5 addresses and 1 blocks\n$/);
  assert.equal((await ipam('check')).status, 0, 'releasing the node also repaired the handle');
  await kv.put(`${PREFIX}/flatnet/nodes/node2`, '{}');
  const refused = await ipam('release', '--node', 'node2');
  assert.equal(refused.status, 2);
  assert.match(refused.err, /flatnet forget node2/);
  assert.equal((await ipam('release', '--node', 'node2', '--force')).status, 0);

  await assign('node3', 'last');
  await kv.delete(`${PREFIX}/flatnet/nodes/node2`);
  assert.match(
    (await ipam('check')).out,
    /warning +NODE_UNKNOWN +node3 +is not a node .* 1 blocks and 1 addresses/,
  );
  const settings = await flatnet('delete', 'node', 'node3');
  assert.deepEqual([settings.status, settings.out], [1, '']);
  assert.match(
    settings.err,
    /^warning: node3 does not answer but holds 1 blocks and 1 addresses; .*: flatnet forget node3\n.*Node\/node3: there is no such resource/,
  );
  assert.equal(
    (await flatnet('forget', 'node3')).out,
    'node node3 is forgotten\nreleased 1 addresses and 1 blocks\n',
  );
  const again = await flatnet('forget', 'node3');
  assert.deepEqual([again.status, again.out], [1, '']);
  assert.match(again.err, /node node3: there is no such node/);
});
