import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';

// What each folder of src/ may import from the others; a name with a slash stands for that one file. A folder that is not
// named here may not exist.
// `error.ts` and `log.ts`, at the root of src/, are open to all, and `async` to all that do I/O.
const MAY_IMPORT: Record<string, readonly string[]> = {
  async: [],
  ip: [],
  linux: ['ip'],
  firewall: ['cluster', 'ip', 'linux', 'state', 'wiring'],
  cluster: ['ip'],
  ipam: ['cluster', 'ip', 'store'],
  store: ['cluster', 'ip', 'ipam'],
  state: ['ip', 'linux'],
  backends: ['cluster', 'ip', 'state'],
  wiring: ['cluster', 'ip', 'state'],
  masquerade: ['cluster', 'ip', 'state'],
  desired: ['backends', 'cluster', 'ip', 'masquerade', 'state', 'wiring'],
  companions: ['agent/retry.ts', 'backends', 'cluster', 'ip', 'linux', 'state'],
  trace: ['cluster', 'ip', 'state'],
  // What the agent keeps on a routed pod's device, ADD puts there first.
  cni: ['cluster', 'ip', 'ipam', 'linux', 'state/ownership.ts', 'wiring/pod-device.ts'],
  agent: [
    'backends',
    'cluster',
    'cni',
    'companions',
    'desired',
    'firewall',
    'ip',
    'ipam',
    'linux',
    'state',
    'store',
    'wiring',
  ],
  runtime: ['cluster', 'cni', 'ip', 'linux'],
  lab: ['agent', 'backends', 'cluster', 'cni', 'companions', 'ip', 'ipam', 'linux', 'runtime', 'store'],
  cli: [
    'agent',
    'cluster',
    'cni',
    'companions',
    'ip',
    'ipam',
    'lab',
    'linux',
    'runtime',
    'state',
    'store',
    'trace',
  ],
};

// Folders that only compute: no I/O of any kind, not even a type that brings it, and not through a third file either.
const PURE = [
  'ip',
  'cluster',
  'backends',
  'wiring',
  'masquerade',
  'desired',
  'trace',
  'firewall/rules',
  'firewall/facts.ts',
  'firewall/problems.ts',
];

type Import = { file: string; folder: string; target: string };

function imports(): Import[] {
  const found: Import[] = [];
  for (const file of globSync('src/**/*.ts')) {
    const folder = file.split('/').length > 2 ? (file.split('/')[1] ?? '') : '';
    for (const match of readFileSync(file, 'utf8').matchAll(
      /^(?:import|export)\s[^;]*?from\s+'([^']+)';/gms,
    )) {
      found.push({ file, folder, target: match[1] ?? '' });
    }
    for (const match of readFileSync(file, 'utf8').matchAll(/\bimport\('([^']+)'\)/g)) {
      found.push({ file, folder, target: match[1] ?? '' });
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
    if (to === 'async' && !PURE.includes(folder)) return false;
    const allowed = MAY_IMPORT[folder] ?? [];
    return !allowed.includes(to) && !allowed.includes(path.slice(1).join('/'));
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

test('what only computes reaches no I/O', () => {
  const targets = new Map<string, string[]>();
  for (const { file, target } of imports()) {
    const path = target.startsWith('.') ? normalize(join(dirname(file), target)) : target;
    targets.set(file, [...(targets.get(file) ?? []), path]);
  }
  // The codecs of linux/ are values too: requests are made and messages read without a socket.
  const impure = (path: string): boolean =>
    path.startsWith('node:') || path === 'koffi' || path.startsWith('src/async/');
  const wrong: string[] = [];
  const seen = new Set<string>();
  const follow = (path: string, way: readonly string[]): void => {
    if (seen.has(path)) return;
    seen.add(path);
    const here = [...way, path];
    if (impure(path)) wrong.push(here.join(' → '));
    else for (const target of targets.get(path) ?? []) follow(target, here);
  };
  const pure = [...targets.keys()].filter((file) =>
    PURE.some((place) => file === `src/${place}` || file.startsWith(`src/${place}/`)),
  );
  assert.ok(pure.includes('src/desired/desired.ts'));
  for (const file of pure) follow(file, []);
  assert.deepEqual(wrong, []);
});
