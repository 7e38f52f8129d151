import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';

// What each folder of src/ may import from the others. A folder that is not named here may not exist.
// `error.ts`, at the root of src/, is open to all.
const MAY_IMPORT: Record<string, readonly string[]> = {
  ip: [],
  linux: ['ip'],
  cluster: ['ip'],
  ipam: ['cluster', 'ip'],
  store: ['cluster', 'ip', 'ipam'],
  state: ['cluster', 'ip', 'linux'],
  backends: ['cluster', 'ip', 'masquerade', 'state', 'wiring'],
  wiring: ['cluster', 'ip', 'state'],
  masquerade: ['cluster', 'ip', 'state'],
  trace: ['backends', 'cluster', 'ip', 'state'],
  cni: ['cluster', 'ip', 'ipam', 'linux', 'state', 'wiring'],
  agent: ['backends', 'cluster', 'cni', 'ip', 'ipam', 'linux', 'masquerade', 'state', 'store', 'wiring'],
  runtime: ['cluster', 'cni', 'ip', 'linux'],
  lab: ['agent', 'backends', 'cluster', 'cni', 'ip', 'ipam', 'linux', 'runtime', 'store'],
  cli: ['agent', 'cluster', 'cni', 'ip', 'lab', 'linux', 'runtime', 'state', 'store', 'trace'],
};

// Folders that only compute: no I/O of any kind, not even a type that brings it.
const PURE = ['ip', 'backends', 'wiring', 'masquerade', 'trace'];

type Import = { file: string; folder: string; target: string; typeOnly: boolean };

function imports(): Import[] {
  const found: Import[] = [];
  for (const file of globSync('src/**/*.ts')) {
    const folder = file.split('/').length > 2 ? (file.split('/')[1] ?? '') : '';
    for (const match of readFileSync(file, 'utf8').matchAll(
      /^(?:import|export)\s+(type\s)?[^;]*?from\s+'([^']+)';/gms,
    )) {
      found.push({ file, folder, target: match[2] ?? '', typeOnly: match[1] !== undefined });
    }
    for (const match of readFileSync(file, 'utf8').matchAll(/\bimport\('([^']+)'\)/g)) {
      found.push({ file, folder, target: match[1] ?? '', typeOnly: false });
    }
  }
  return found;
}

test('every import points from the whole to its parts', () => {
  const seen = imports();
  assert.ok(seen.length > 20, 'the test reads no imports');
  const wrong = seen.filter(({ file, folder, target }) => {
    if (!target.startsWith('.')) return false;
    const path = normalize(join(dirname(file), target)).split('/');
    const to = path.length > 2 ? (path[1] ?? '') : '';
    if (to === '' || to === folder) return folder === '' && to !== '';
    return !(MAY_IMPORT[folder] ?? []).includes(to);
  });
  assert.deepEqual(
    wrong.map(({ file, target }) => `${file} imports ${target}`),
    [],
  );
});

test('every folder of src/ has its place', () => {
  const folders = new Set(
    imports()
      .map(({ folder }) => folder)
      .filter(Boolean),
  );
  assert.deepEqual(
    [...folders].filter((folder) => !(folder in MAY_IMPORT)),
    [],
  );
});

test('what only computes imports no I/O', () => {
  const wrong = imports().filter(({ folder, file, target }) => {
    const pure = PURE.includes(folder) || file === 'src/state/item.ts';
    return pure && (target.startsWith('node:') || target === 'koffi' || target.includes('/linux/'));
  });
  assert.deepEqual(
    wrong.map(({ file, target }) => `${file} imports ${target}`),
    [],
  );
});
