import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tunnelMacs } from '../../../src/agent/underlay/tunnel-macs.ts';
import { SILENT } from '../../../src/log.ts';
import { kernelTest, sandbox } from '../../linux/sandbox.ts';

kernelTest('a node keeps the MACs of its tunnels, which are its own', (t) => {
  const { netns, run } = sandbox(t);
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-macs-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const of = (name: string) => tunnelMacs(join(dir, name), SILENT, netns);
  const first = of('a');
  assert.deepEqual(of('a'), first, 'after a restart');
  assert.equal(statSync(join(dir, 'a', 'tunnel-macs.json')).mode & 0o777, 0o600);
  const second = of('b');
  assert.equal(new Set([...Object.values(first), ...Object.values(second)]).size, 4);
  for (const mac of Object.values(first)) assert.equal(Number.parseInt(mac.slice(0, 2), 16) & 3, 2);

  // From an earlier version, or flanneld.
  run(
    'ip',
    'link',
    'add',
    'flannel.1',
    'address',
    '12:c6:65:89:b4:e3',
    'type',
    'vxlan',
    'id',
    '1',
    'dstport',
    '8472',
  );
  const adopted = of('c');
  assert.equal(adopted[4], '12:c6:65:89:b4:e3');
  run('ip', 'link', 'set', 'flannel.1', 'alias', 'flatnet vxlan IPv4');
  assert.deepEqual(of('a'), first, 'what is recorded comes first');
  run('ip', 'link', 'set', 'flannel.1', 'alias', '');
  const retaken = of('a');
  assert.deepEqual(retaken, { ...first, 4: adopted[4] }, 'unless the device is flanneld’s, as peers know it');
  assert.deepEqual(of('a'), retaken);
  run('ip', 'link', 'del', 'flannel.1');
  assert.deepEqual(of('c'), adopted);

  writeFileSync(join(dir, 'a', 'tunnel-macs.json'), '{"4":');
  assert.notDeepEqual(of('a'), first, 'a damaged file is replaced');
  assert.deepEqual(of('a'), of('a'));
});
