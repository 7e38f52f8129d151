import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp } from '../../src/ip/address.ts';
import type { Answer, Echoes, Evidence } from '../../src/probe/evidence.ts';
import { judge } from '../../src/probe/judge.ts';
import { isBroken } from '../../src/probe/report.ts';
import type { Target } from '../../src/probe/target.ts';

const HOST = parseIp('172.30.0.12');

const TARGET: Target = {
  peer: 'node2',
  family: 4,
  host: HOST,
  carrier: { udp: 8472 },
  inner: parseIp('10.244.2.0'),
  mtu: 1450,
  underlayMtu: 1500,
  overhead: 50,
  hasMtuOption: true,
  dev: 'eth0',
  from: parseIp('172.30.0.11'),
  isOnLink: true,
  others: [],
};

function echoes(small: number, full: number, sent = 10): Echoes {
  return { small: { sent, answered: small }, full: { sent, answered: full } };
}

const ALL = echoes(10, 10);
const NONE = echoes(0, 0);

type Case = {
  readonly name: string;
  readonly target?: Target;
  readonly evidence: Evidence;
  readonly says: readonly (RegExp | string)[];
};

const routes = { carrier: 'routes', overhead: 0, mtu: 1500 } as const;
const DIRECT: Target = { ...TARGET, ...routes };
/** To routed pods, where no address is the peer's own. */
const HOST_ONLY: Target = (({ inner: _, ...rest }) => rest)(DIRECT);

const CASES: readonly Case[] = [
  { name: 'all answered', evidence: { path: ALL }, says: ['well'] },
  { name: 'one late answer', evidence: { path: echoes(10, 9) }, says: ['well'] },
  {
    name: 'loss in the underlay',
    evidence: { path: echoes(7, 6), host: echoes(7, 8) },
    says: ['lossy', /35 % .* lost/, /the underlay itself loses 25 %/],
  },
  {
    name: 'so much loss that the size says nothing',
    evidence: { path: echoes(3, 0), host: echoes(2, 1) },
    says: ['lossy', /85 % .* lost/],
  },
  {
    name: 'loss in the tunnel only',
    evidence: { path: echoes(7, 6), host: ALL },
    says: ['lossy', /what drops them sees UDP 8472/],
  },
  {
    name: 'a narrow underlay',
    evidence: { path: echoes(10, 0), pathMtu: 1354, host: echoes(10, 0), hostMtu: 1400 },
    says: [
      'narrow',
      /up to 1350 bytes, and pods send 1450/,
      /carries 1400 bytes/,
      /set Backend.MTU to 1400$/,
    ],
  },
  {
    name: 'large packets vanish in the tunnel alone',
    evidence: { path: echoes(10, 0), pathMtu: 1300, host: ALL },
    says: ['narrow', /up to 1300 bytes/, /it is the tunnel’s that are lost/, /set Backend.MTU to 1350$/],
  },
  {
    name: 'a narrow underlay whose hosts answer no pings',
    evidence: { path: echoes(10, 0), pathMtu: 1350, host: NONE },
    says: ['narrow', /the underlay carries 1400 bytes to 172\.30\.0\.12, not 1500/, /Backend.MTU to 1400$/],
  },
  {
    name: 'a narrow underlay without a tunnel',
    target: DIRECT,
    evidence: { path: echoes(10, 0), pathMtu: 1400, host: echoes(5, 0), hostMtu: 1400 },
    says: ['narrow', /lower the MTU of eth0 to 1400 on every node/],
  },
  {
    name: 'the port is dropped',
    evidence: { path: NONE, host: ALL, carrier: 'nothing', others: ['vxlan-md', 'host-gw'] },
    says: ['blocked', /drops UDP 8472/, /allow UDP 8472 .*; or .* host-gw and vxlan-md do reach node2$/],
  },
  {
    name: 'IPv6 alone',
    target: { ...TARGET, family: 6, carrier: { protocol: 47 } },
    evidence: { path: NONE, host: ALL },
    says: ['blocked', /^node2 does not answer through the tunnel, GRE \(IP protocol 47\) over IPv6/m],
  },
  {
    name: 'nothing else was found to work',
    evidence: { path: NONE, host: ALL, carrier: 'nothing', others: [] },
    says: ['blocked', /allow UDP 8472 between all nodes$/],
  },
  {
    name: 'nobody receives it there',
    evidence: { path: NONE, host: ALL, carrier: { unwanted: HOST } },
    says: [
      'blocked',
      /nothing on node2 receives UDP 8472, or its firewall rejects it/,
      /flatnet status on node2/,
    ],
  },
  {
    name: 'a firewall says no',
    evidence: { path: NONE, host: ALL, carrier: { forbidden: parseIp('10.9.9.9') } },
    says: ['blocked', /10\.9\.9\.9 forbids UDP 8472/],
  },
  {
    name: 'our own firewall drops it',
    evidence: { path: { ...NONE, refusal: 'EPERM' }, host: NONE, carrier: 'refused' },
    says: ['blocked', /this node’s own firewall drops UDP 8472/],
  },
  {
    name: 'this node is not set up',
    evidence: { path: { ...NONE, refusal: 'ENETUNREACH' } },
    says: ['blocked', /this node cannot send to its pods: ENETUNREACH/, /flatnet diff/],
  },
  {
    name: 'a host that answers no pings, but is there',
    evidence: { path: NONE, host: NONE, carrier: 'nothing', others: ['geneve'] },
    says: ['blocked', /its host answers other packets to 172\.30\.0\.12, so/, /geneve do reach node2/],
  },
  {
    name: 'nothing answers',
    evidence: { path: NONE, host: NONE, carrier: 'nothing', others: [] },
    says: ['down', /does not answer at 172\.30\.0\.12/, /off or cut off/, /flatnet forget node2/],
  },
  {
    name: 'nobody has the address',
    evidence: { path: NONE, host: NONE, carrier: 'nothing', isAbsent: true },
    says: ['down', /no machine on eth0 has this address/],
  },
  {
    name: 'the network drops pods’ addresses',
    target: DIRECT,
    evidence: { path: NONE, host: ALL, hasArrived: false, others: ['vxlan'] },
    says: ['blocked', /not at its pods’ addresses/, /source and destination\); or .* vxlan do reach/],
  },
  {
    name: 'flanneld before its first pod',
    target: DIRECT,
    evidence: { path: NONE, host: ALL, hasArrived: true },
    says: ['untested', /has no address of its own there/],
  },
  {
    name: 'routed pods',
    target: HOST_ONLY,
    evidence: { host: ALL },
    says: ['untested', /also to packets of 1500 bytes, but the way to its pods cannot be tested/],
  },
  {
    name: 'routed pods behind a bad link',
    target: HOST_ONLY,
    evidence: { host: echoes(4, 3, 5) },
    says: ['lossy', /30 % .* lost/],
  },
  {
    name: 'routed pods behind a narrow underlay',
    target: HOST_ONLY,
    evidence: { host: echoes(5, 0, 5), hostMtu: 1400 },
    says: ['narrow', /up to 1400 bytes, and pods send 1500/],
  },
  {
    name: 'routed pods of a host that is gone',
    target: HOST_ONLY,
    evidence: { host: NONE },
    says: ['down'],
  },
];

for (const { name, target = TARGET, evidence, says } of CASES) {
  test(name, () => {
    const report = judge(target, evidence);
    const text = [report.what, report.cause, report.fix].filter(Boolean).join('; ');
    const [state, ...patterns] = says;
    assert.equal(report.state, state, text);
    for (const pattern of patterns) assert.match(text, pattern as RegExp);
    assert.equal(report.what === undefined, state === 'well');
  });
}

const tally = fc.integer({ min: 0, max: 10 });
const anyEchoes = fc.tuple(tally, tally).map(([small, full]) => echoes(small, full));
const answer = fc.constantFrom<Answer[]>('nothing', 'refused', { unwanted: HOST }, { forbidden: HOST });
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });

test('whatever was found: trouble has a reason and a remedy, and only what was tested is recommended', () => {
  const evidence = fc.record(
    {
      path: anyEchoes,
      pathMtu: fc.integer({ min: 576, max: 1449 }),
      host: anyEchoes,
      hostMtu: fc.integer({ min: 576, max: 1499 }),
      isAbsent: fc.boolean(),
      carrier: answer,
      hasArrived: fc.boolean(),
      others: fc.subarray(['host-gw', 'geneve', 'gre', 'udp']),
    },
    { requiredKeys: ['path'] },
  );
  fc.assert(
    fc.property(evidence, maybe(fc.constant(routes)), (found, plain) => {
      const target = { ...TARGET, ...plain };
      const report = judge(target, found as Evidence);
      const { path } = found;
      if (path && path.small.answered + path.full.answered === 20) assert.equal(report.state, 'well');
      if (isBroken(report)) assert.ok(report.what && report.fix);
      if (report.mtu !== undefined) assert.ok(report.mtu <= target.mtu);
      for (const type of ['host-gw', 'geneve', 'gre']) {
        if (new RegExp(`\\b${type}\\b`).test(report.fix ?? '')) assert.ok(found.others?.includes(type));
      }
      assert.deepEqual(judge(target, found as Evidence), report);
    }),
  );
});
