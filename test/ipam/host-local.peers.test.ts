import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { messageOf } from '../../src/error.ts';
import { HostLocal, type Owner } from '../../src/ipam/host-local.ts';
import { readRangeSets } from '../../src/ipam/ranges.ts';
import { requestedIps } from '../../src/ipam/requested-ips.ts';

const REFERENCE = ['/usr/lib/cni/host-local', '/opt/cni/bin/host-local'].find((path) => fs.existsSync(path));
const skip =
  REFERENCE || process.env.CI
    ? false
    : 'needs the reference plugins: apt-get install containernetworking-plugins';

/** Addresses and gateways, or the error message. */
type Outcome = { readonly ips: readonly { address: string; gateway: string }[] } | { readonly error: string };
type Verb = 'ADD' | 'DEL' | 'CHECK';

/** Two IPv4 ranges with seven addresses in the first set; five in the IPv6 set, so that it runs out first. */
const RANGES = [
  [
    { subnet: '10.1.0.0/29', rangeStart: '10.1.0.3' },
    { subnet: '10.1.1.0/28', rangeEnd: '10.1.1.4', gateway: '10.1.1.2' },
  ],
  [{ subnet: 'fd00:1::/64', rangeStart: 'fd00:1::10', rangeEnd: 'fd00:1::14', gateway: 'fd00:1::11' }],
];

type Conf = Readonly<Record<string, unknown>>;

function conf(dataDir: string, ipam: Conf = { ranges: RANGES }, more: Conf = {}): Conf {
  return {
    cniVersion: '1.0.0',
    name: 'net',
    type: 'bridge',
    ipam: { type: 'host-local', dataDir, ...ipam },
    ...more,
  };
}

function reference(verb: Verb, owner: Owner, conf: Conf, args = ''): Outcome {
  const env = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: owner.containerId,
    CNI_IFNAME: owner.ifName,
    CNI_NETNS: '/proc/self/ns/net',
    CNI_PATH: '/nowhere',
    CNI_ARGS: args,
  };
  const input = JSON.stringify(conf);
  const { stdout, error } = spawnSync(REFERENCE ?? 'host-local', {
    env,
    input,
    encoding: 'utf8',
    timeout: 10_000,
  });
  if (error) throw error;
  const result = stdout === '' ? {} : JSON.parse(stdout);
  if (typeof result.msg === 'string') return { error: result.msg };
  const ips: { address: string; gateway: string }[] = result.ips ?? [];
  return { ips: ips.map(({ address, gateway }) => ({ address, gateway })) };
}

function ours(dir: string, verb: Verb, owner: Owner, conf: Conf, args = '', kept?: HostLocal): Outcome {
  try {
    const ipam = kept ?? HostLocal.open(dir, readRangeSets(conf));
    if (verb === 'ADD') return { ips: ipam.allocate(owner, requestedIps(conf, args)) };
    if (verb === 'DEL') ipam.release(owner);
    else if (ipam.check(owner).length === 0) {
      return { error: `host-local: Failed to find address added by container ${owner.containerId}` };
    }
    return { ips: [] };
  } catch (error) {
    return { error: messageOf(error) };
  }
}

/** The reference prefixes errors with the range that failed, and we append a fix. */
function assertSame(actual: Outcome, expected: Outcome): void {
  if ('error' in actual && 'error' in expected) {
    const text = expected.error.replace(/^failed to allocate for range \d+: /, '');
    assert.ok(actual.error.includes(text), `'${actual.error}' does not contain '${text}'`);
  } else assert.deepEqual(actual, expected);
}

/**
 * File names and contents, without the reference's lock and our spare files. (Modes depend on its release:
 * 0644, later 0600.)
 */
function snapshot(dir: string): Record<string, string> {
  const names = fs.readdirSync(dir).filter((name) => name !== 'lock' && !name.startsWith('.spare-'));
  return Object.fromEntries(names.sort().map((name) => [name, fs.readFileSync(join(dir, name), 'utf8')]));
}

const step = fc.record({
  verb: fc.constantFrom<Verb>('ADD', 'ADD', 'ADD', 'DEL', 'DEL', 'CHECK'),
  pod: fc.nat(6),
  ifName: fc.constantFrom('eth0', 'eth0', 'net1'),
  /** Which implementation operates on the shared directory. */
  byUs: fc.boolean(),
  wish: fc.option(fc.constantFrom('10.1.0.4', '10.1.0.6', '10.1.1.1', '10.1.1.3', '10.1.1.4'), {
    nil: undefined,
  }),
  source: fc.constantFrom('CNI_ARGS', 'args', 'runtimeConfig'),
  /** An old release reserves an address for the pod first, if it has none. */
  old: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
});

function request(ip: string, source: string): { more: Conf; args: string } {
  if (source === 'CNI_ARGS') return { more: {}, args: `IgnoreUnknown=1;IP=${ip}` };
  return {
    more: source === 'args' ? { args: { cni: { ips: [ip] } } } : { runtimeConfig: { ips: [ip] } },
    args: '',
  };
}

function folder(t: TestContext): () => string {
  const root = fs.mkdtempSync(join(tmpdir(), 'flatnet-host-local-'));
  t.after(() => fs.rmSync(root, { recursive: true }));
  return () => fs.mkdtempSync(join(root, 'run-'));
}

describe('HostLocal and the reference host-local', { skip }, () => {
  it('behave identically on the same calls, also when sharing a directory', (t) => {
    const fresh = folder(t);
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 30, size: 'max' }), (steps) => {
        const [theirs, mixed] = [fresh(), fresh()];
        const dirs = [theirs, mixed].map((dataDir) => join(dataDir, 'net')) as [string, string];
        for (const dir of dirs) fs.mkdirSync(dir);
        const ipam = HostLocal.open(dirs[1], readRangeSets(conf(mixed)));
        for (const { verb, pod, ifName, byUs, wish, source, old } of steps) {
          const owner = { containerId: `pod${pod}`, ifName };
          const has = (text: string): boolean => text.split('\r\n')[0] === owner.containerId;
          const files = snapshot(dirs[0]);
          if (old && !files['10.1.1.3'] && !Object.values(files).some(has)) {
            for (const dir of dirs) fs.writeFileSync(join(dir, '10.1.1.3'), owner.containerId);
          }
          // The reference assigns a second address to an owner that requests one. CNI forbids the call, and
          // we reject it.
          const wishing = wish !== undefined && verb === 'ADD' && ipam.check(owner).length === 0;
          const { more, args } = wishing ? request(wish, source) : { more: {}, args: '' };
          const [c0, c1] = [conf(theirs, undefined, more), conf(mixed, undefined, more)];
          const expected = reference(verb, owner, c0, args);
          const actual = byUs ? ours(dirs[1], verb, owner, c1, args, ipam) : reference(verb, owner, c1, args);
          assertSame(actual, expected);
          assert.deepEqual(snapshot(dirs[1]), snapshot(dirs[0]));
        }
      }),
      { numRuns: 25 },
    );
  });

  const owner = { containerId: 'pod', ifName: 'eth0' };
  const range = (more: Conf) => ({ ranges: [[{ subnet: '10.1.0.0/24', ...more }]] });
  const cases: [string, Conf, Conf?, string?][] = [
    ['the old form', { subnet: '10.1.0.0/24', rangeStart: '10.1.0.9', gateway: '10.1.0.254' }],
    ['the old form before ranges', { subnet: '10.1.0.0/24', ranges: [[{ subnet: '10.2.0.0/24' }]] }],
    [
      'ipRanges before all',
      { subnet: '10.1.0.0/24' },
      { runtimeConfig: { ipRanges: [[{ subnet: '10.2.0.0/24' }]] } },
    ],
    ['a gateway in the middle', range({ gateway: '10.1.0.5', rangeStart: '10.1.0.5' })],
    ['a gateway outside', range({ gateway: '10.9.0.1' })],
    ['a small network', { ranges: [[{ subnet: '10.1.0.0/30' }]] }],
    ['a small IPv6 network', { ranges: [[{ subnet: 'fd00::/126' }]] }],
    ['a request with a length', range({}), {}, 'IP=10.1.0.7/8'],
    ['a request for a gateway', range({}), {}, 'IP=10.1.0.1'],
    ['a request outside', range({}), {}, 'IP=10.9.0.1'],
    [
      'two requests of a set',
      range({ rangeStart: '10.1.0.8' }),
      { runtimeConfig: { ips: ['10.1.0.2', '10.1.0.9'] } },
    ],
    ['a network too small', { ranges: [[{ subnet: '10.1.0.0/31' }]] }],
    ['an empty set', { ranges: [[]] }],
    ['host bits', { ranges: [[{ subnet: '10.1.0.1/24' }]] }],
    ['a start outside', range({ rangeStart: '10.2.0.0' })],
    ['an end outside', range({ rangeEnd: '10.2.0.0' })],
    ['an end before the start', range({ rangeStart: '10.1.0.9', rangeEnd: '10.1.0.8' })],
    ['both families in a set', { ranges: [[{ subnet: '10.1.0.0/24' }, { subnet: 'fd00::/64' }]] }],
    ['overlap in a set', { ranges: [[{ subnet: '10.1.0.0/24' }, { subnet: '10.1.0.0/25' }]] }],
    ['overlapping sets', { ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: '10.0.0.0/8' }]] }],
    [
      'two of a family in CNI 0.2.0',
      { ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: '10.2.0.0/24' }]] },
      { cniVersion: '0.2.0' },
    ],
  ];
  for (const [what, ipam, more, args] of cases) {
    it(`agree on ${what}`, (t) => {
      const fresh = folder(t);
      const [theirs, mine] = [fresh(), fresh()];
      const expected = reference('ADD', owner, conf(theirs, ipam, more), args);
      assertSame(ours(join(mine, 'net'), 'ADD', owner, conf(mine, ipam, more), args), expected);
    });
  }
});
