import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { messageOf } from '../../src/error.ts';
import { fileOf } from '../../src/transfer/contents.ts';
import { readContents } from '../../src/transfer/read.ts';
import { contents } from './arbitraries.ts';

type Json = Record<string, unknown>;

const NODE = {
  name: 'node1',
  addresses: ['192.0.2.1'],
  subnets: ['10.5.1.0/24'],
  backend: { type: 'vxlan' },
};
const OTHER = { ...NODE, name: 'node2', addresses: ['192.0.2.2'], subnets: ['10.5.2.0/24'] };
const BLOCK = { cidr: '10.6.0.0/26', node: 'node1', sequence: 5, changed: 1, allocations: [], released: [] };
const AFFINITY = { cidr: '10.6.0.0/26', node: 'node1', state: 'confirmed' };
const USE = { ordinal: 1, handle: 'h', node: 'node1', sequence: 4, at: 1 };
const POOL = {
  apiVersion: 'projectcalico.org/v3',
  kind: 'IPPool',
  metadata: { name: 'p' },
  spec: { cidr: '10.6.0.0/16' },
};

const file = (over: Json = {}): Json => ({
  kind: 'FlatnetStore',
  version: 1,
  network: { Network: '10.5.0.0/16', Backend: { Type: 'vxlan' } },
  nodes: [NODE],
  resources: [POOL],
  ipam: ipam({}),
  ...over,
});
const ipam = (over: Json): Json => ({ config: {}, blocks: [BLOCK], affinities: [AFFINITY], ...over });
const block = (over: Json): Json => ({ ipam: ipam({ blocks: [{ ...BLOCK, ...over }] }) });
const node = (over: Json): Json => ({ nodes: [{ ...NODE, ...over }] });

const labelled = (labels: Json): Json => ({
  resources: [{ ...POOL, metadata: { name: 'p', labels } }],
});

/** What is wrong, and what the error must say of it. */
const BAD: readonly (readonly [Json, RegExp])[] = [
  [{ kind: 'List' }, /^kind: must be FlatnetStore/],
  [{ version: 2 }, /^version: 2 is not known; this release reads 1/],
  [{ version: undefined }, /^version: missing is not known/],
  [{ network: undefined }, /^network: Network/],
  [{ network: { Network: 'ten' } }, /^network: Network: /],
  [{ more: 1 }, /^more: is not a known key/],
  [{ nodes: {} }, /^nodes: must be a list/],
  [{ nodes: ['node1'] }, /^nodes\[0\]: must be an object/],
  [node({ name: 'a/b' }), /^nodes\[0\]\.name: 'a\/b' is not a DNS name/],
  [node({ name: undefined }), /^nodes\[0\]\.name/],
  [node({ labels: { a: 1 } }), /^nodes\[0\]\.labels\.a: must be a string/],
  [node({ addresses: [] }), /^nodes\[0\]\.addresses: has none/],
  [node({ addresses: ['192.0.2.1', '192.0.2.2'] }), /^nodes\[0\]\.addresses: has two of one family/],
  [node({ addresses: ['127.0.0.1'] }), /^nodes\[0\]\.addresses\[0\]: 127.0.0.1 is a loopback address/],
  [node({ subnets: ['10.9.0.0/24'] }), /^nodes\[0\]\.subnets\[0\]: 10.9.0.0\/24 is outside the network/],
  [node({ subnets: [] }), /^nodes\[0\]\.subnets: has none/],
  [node({ backend: 'vxlan' }), /^nodes\[0\]\.backend: must be an object/],
  [node({ backend: { type: 'vxlan', data: { 5: 1 } } }), /^nodes\[0\]\.backend\.data\.5: is not a known key/],
  [node({ subnet: '10.5.1.0/24' }), /^nodes\[0\]\.subnet: is not a known key; did you mean subnets/],
  [node({ addresses: ['10.5.9.9'] }), /^network: .*10\.5\.9\.9.*the address of node node1/],
  [{ nodes: [NODE, { ...OTHER, name: 'node1' }] }, /^nodes: node1 is there twice/],
  [
    { nodes: [NODE, { ...OTHER, addresses: ['192.0.2.1'] }] },
    /^nodes: node1 and node2 have the same address/,
  ],
  [{ nodes: [NODE, { ...OTHER, subnets: ['10.5.0.0/23'] }] }, /^nodes: 10.5.1.0\/24 of node1 overlaps/],
  [{ resources: [{ ...POOL, kind: 'Pod' }] }, /^resources\[0\]: resource\.kind: 'Pod' is not supported/],
  [{ resources: [{ ...POOL, spec: { cidr: 'x' } }] }, /^resources\[0\]: IPPool\/p spec\.cidr/],
  [labelled({ rack: ' ' }), /^resources\[0\]\.metadata\.labels: 'rack: {2}' is no label in Kubernetes/],
  [labelled({ 'A.com/rack': 'a' }), /^resources\[0\]\.metadata\.labels: /],
  [{ resources: [POOL, POOL] }, /^resources\[1\]\.metadata\.name: IPPool\/p is there twice/],
  [{ resources: [POOL, { ...POOL, metadata: { name: 'q' } }] }, /^resources: .*overlaps/],
  [{ ipam: { handles: [] } }, /^ipam\.handles: is not a known key/],
  [{ ipam: { config: { cooldown: -1 } } }, /^ipam\.config\.cooldown/],
  [block({ cidr: '10.0.0.0/8' }), /^ipam\.blocks\[0\]\.cidr: 10.0.0.0\/8 is larger than any block/],
  [block({ cidr: '10.6.0.1/26' }), /^ipam\.blocks\[0\]\.cidr: must be written as 10.6.0.0\/26/],
  [block({ node: 'a b' }), /^ipam\.blocks\[0\]\.node: 'a b' is not the name/],
  [block({ sequence: 'x' }), /^ipam\.blocks\[0\].*sequence/],
  [block({ allocations: [{ ...USE, ordinal: 64 }] }), /^ipam\.blocks\[0\].*allocations\[0\]\.ordinal/],
  [block({ allocations: [{ ...USE, node: '' }] }), /^ipam\.blocks\[0\]\.allocations: '' is not the name/],
  [block({ allocations: [{ ...USE, handle: 'h'.repeat(2000) }] }), /a handle has 2000 characters/],
  [block({ allocations: [{ ...USE, sequence: 9 }] }), /^ipam: 10.6.0.0\/26 would reuse a sequence number/],
  [block({ owner: 'x' }), /^ipam\.blocks\[0\]\.owner: is not a known key/],
  [{ ipam: ipam({ affinities: [] }) }, /^ipam: 10.6.0.0\/26 its node node1 has no affinity for it/],
  [{ ipam: ipam({ affinities: [{ ...AFFINITY, state: 'x' }] }) }, /^ipam\.affinities\[0\]\.state/],
  [{ ipam: ipam({ blocks: [BLOCK, { ...BLOCK, cidr: '10.6.0.0/27' }] }) }, /^ipam: .*lies in 10.6.0.0\/26/],
];

describe('reading a file', () => {
  test('what is written is read, whatever it is', () => {
    const property = fc.property(contents, (given) => {
      const read = readContents(JSON.parse(JSON.stringify(fileOf(given))), () => {});
      assert.deepEqual(read, given);
    });
    fc.assert(property);
  });

  test('an entry that is wrong is refused by name', () => {
    readContents(file(), () => {});
    for (const [over, expected] of BAD) {
      assert.throws(
        () => readContents(JSON.parse(JSON.stringify(file(over))), () => {}),
        (error) => {
          assert.match(messageOf(error), expected, JSON.stringify(over));
          assert.equal((error as { code?: string }).code, 'CONFIG_INVALID');
          return true;
        },
      );
    }
  });

  test('any value at all is refused in good order', () => {
    const part = fc.constantFrom('network', 'nodes', 'resources', 'ipam', 'kind', 'version');
    const property = fc.property(part, fc.jsonValue(), (name, value) => {
      try {
        readContents(file({ [name]: value }), () => {});
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'CONFIG_INVALID', `${name}: ${messageOf(error)}`);
      }
    });
    fc.assert(property);
  });
});
