import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { familyOf, isIp, parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { readView, type SavedView, writeView } from '../../src/store/view-file.ts';

const view: SavedView = {
  formers: new Map([
    ['bgp', undefined],
    ['host-gw', readNetwork({ Network: '10.5.0.0/16', Backend: { Type: 'host-gw' } })],
  ]),
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
  const read = await readView(file);
  assert.deepEqual([read?.nodes, read?.formers], [[], new Map()]);
  writeFileSync(
    file,
    '{"version":1,"network":{"Network":"10.0.0.0/16"},"nodes":[],"formers":[7,{"Network":"10.0.0.0/16"}]}',
  );
  assert.deepEqual([...((await readView(file))?.formers.keys() ?? [])], ['vxlan']);
});

/** Every path in a value at which something else can stand. */
function* places(value: unknown): Generator<(string | number)[]> {
  yield [];
  if (typeof value !== 'object' || value === null) return;
  for (const [name, inner] of Object.entries(value))
    for (const rest of places(inner)) yield [Array.isArray(value) ? Number(name) : name, ...rest];
}

function withValue(value: unknown, [name, ...rest]: (string | number)[], other: unknown): unknown {
  if (name === undefined) return other;
  if (Array.isArray(value)) return value.map((each, i) => (i === name ? withValue(each, rest, other) : each));
  const entries = Object.entries(Object(value));
  return Object.fromEntries(
    entries.map(([key, each]) => [key, key === name ? withValue(each, rest, other) : each]),
  );
}

test('whatever stands anywhere in the file, the view is whole or ignored, and that is told', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), `flatnet-view-${process.pid}-`));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'view.json');
  const rich: SavedView = {
    ...view,
    resources: {
      ...NO_RESOURCES,
      ipReservations: [{ name: 'r', cidrs: [parseCidr('10.5.9.0/24')] }],
      bgpFilters: [{ name: 'f', exportV4: [{ action: 'Accept' }], importV4: [], exportV6: [], importV6: [] }],
      nodes: { node1: { name: 'node1', labels: { rack: 'a' }, asNumber: 64512 } },
    },
  };
  await writeView(file, rich);
  assert.deepEqual(await readView(file), rich);
  const whole: unknown = JSON.parse(readFileSync(file, 'utf8'));
  for (const place of places(whole)) {
    for (const other of [null, 7, 'x', [], {}, [null]]) {
      writeFileSync(file, JSON.stringify(withValue(whole, place, other)));
      const reasons: string[] = [];
      const read = await readView(file, (reason) => reasons.push(reason));
      assert.equal(reasons.length, read ? 0 : 1, place.join('.'));
      // What the agent does first with a view.
      const { resources = NO_RESOURCES, nodes = [] } = read ?? {};
      for (const node of nodes) {
        assert.ok(Object.values(node.addresses).every((ip) => isIp(ip)));
        assert.ok(node.subnets.every((subnet) => familyOf(subnet) > 0));
      }
      assert.ok(Object.values(resources.nodes).every(({ labels }) => Object.keys(labels)));
      assert.ok(resources.bgpFilters.every(({ exportV4 }) => exportV4.every(({ action }) => action)));
      assert.ok(resources.bgpPeers.every(({ filters }) => filters.every((name) => name)));
    }
  }
});
