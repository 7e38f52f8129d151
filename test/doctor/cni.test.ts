import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DEFAULT_PATHS } from '../../src/agent/options.ts';
import { cniFindings } from '../../src/doctor/cni.ts';

const CASES: readonly (readonly [
  files: readonly string[],
  devices: readonly string[],
  found: readonly RegExp[],
])[] = [
  [
    ['10-flatnet.conflist', '20-other.conf', 'README'],
    [],
    [/^ok .*10-flatnet\.conflist, ahead of 20-other\.conf$/],
  ],
  [
    ['05-cilium.conflist', '10-flatnet.conflist'],
    [],
    [/^wrong runtimes use .*05-cilium\.conflist instead of/],
  ],
  [
    ['10-flannel.conflist'],
    [],
    [/^wrong .*10-flatnet\.conflist is missing.*; runtimes use 10-flannel\.conflist/],
  ],
  [
    [],
    [],
    [/^wrong .*10-flatnet\.conflist is missing: this node takes no pods of flatnet’s; the agent writes/],
  ],
  [
    ['10-flatnet.conflist'],
    ['lo', 'cilium_host', 'cilium_net'],
    [/^ok /, /^note cilium_host, cilium_net: devices of Cilium/],
  ],
];

for (const [files, devices, patterns] of CASES) {
  test(`configurations: ${files.join(', ') || 'none'}; devices: ${devices.join(', ') || 'none'}`, (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'flatnet-'));
    t.after(() => rmSync(folder, { recursive: true }));
    for (const name of files) writeFileSync(join(folder, name), '{}');
    for (const name of ['flatnet', 'loopback']) {
      writeFileSync(join(folder, name), '');
      chmodSync(join(folder, name), 0o755);
    }
    const found = cniFindings({ ...DEFAULT_PATHS, cniConf: folder, cniBin: folder }, devices)
      .map(({ state, what, cause, fix }) => [`${state} ${what}`, cause, fix].filter(Boolean).join('; '))
      .filter((line) => !/\/(flatnet|loopback)$/.test(line));
    assert.equal(found.length, patterns.length, found.join('\n'));
    for (const [i, pattern] of patterns.entries()) assert.match(found[i] ?? '', pattern);
  });
}

test('plugins that runtimes cannot run', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, '10-flatnet.conflist'), '{}');
  const found = cniFindings({ ...DEFAULT_PATHS, cniConf: folder, cniBin: folder }, []);
  assert.deepEqual(
    found.map(({ state, cause }) => [state, cause]),
    [
      ['ok', undefined],
      ['wrong', 'it does not exist'],
      ['wrong', 'it does not exist'],
    ],
  );
});
