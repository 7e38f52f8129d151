import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import type { ClusterView } from '../../src/store/ports/feed.ts';
import { readView, writeView } from '../../src/store/view-file.ts';

const view: ClusterView = {
  resources: NO_RESOURCES,
  network: readNetwork({ Network: '10.5.0.0/16', Backend: { Type: 'vxlan', VNI: 7 } }),
  nodes: [
    {
      name: 'node1',
      labels: { zone: 'a' },
      addresses: { 4: parseIp('192.0.2.1') },
      subnets: [parseCidr('10.5.1.0/24')],
      backend: { type: 'vxlan', data: { 4: { VNI: 7, VtepMAC: '02:00:00:00:00:01' } } },
    },
  ],
};

test('the view round-trips through a file readable only by its owner, with no temporary file left', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), `flatnet-view-${process.pid}-`));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'view.json');
  assert.equal(await readView(file), undefined);
  await writeView(file, { ...view, nodes: [] });
  await writeView(file, view);
  assert.deepEqual(await readView(file), view);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(folder), ['view.json']);
  await assert.rejects(writeView(join(folder, 'none', 'view.json'), view), { code: 'ENOENT' });
});

test('a damaged file or one of another release is ignored', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), `flatnet-view-${process.pid}-`));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'view.json');
  for (const text of ['', '{', 'null', '[]', '{"version":2}', '{"version":1,"revision":1,"nodes":[]}']) {
    writeFileSync(file, text);
    assert.equal(await readView(file), undefined, text);
  }
  writeFileSync(
    file,
    '{"version":1,"revision":1,"network":{"Network":"10.0.0.0/16"},"nodes":[7,{"name":"x"}],"more":1}',
  );
  assert.deepEqual((await readView(file))?.nodes, []);
});
