import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkChange, checkDeletion } from '../../../src/cluster/calico/change.ts';
import { decode } from '../../../src/cluster/calico/decode.ts';
import { API_VERSION } from '../../../src/cluster/calico/document.ts';
import type { IpPool } from '../../../src/cluster/resources.ts';
import { parseIp } from '../../../src/ip/address.ts';

const resource = (name: string, spec: object) =>
  decode({
    apiVersion: API_VERSION,
    kind: 'IPPool',
    metadata: { name },
    spec: { cidr: '10.0.0.0/16', ...spec },
  });
const poolOf = (name: string, spec: object): IpPool => {
  const { kind, value } = resource(name, spec);
  return kind === 'IPPool' ? value : assert.fail();
};

test('the network that blocks were cut from is immutable; everything else in a pool may change', () => {
  const before = resource('p', {});
  const pools = [poolOf('p', {})];
  for (const spec of [{ natOutgoing: true }, { disabled: true }, { ipipMode: 'Always' }, { blockSize: 26 }]) {
    checkChange(resource('p', spec), before, { pools, nodes: [] });
  }
  for (const [spec, field] of [
    [{ cidr: '10.0.0.0/15' }, 'cidr'],
    [{ cidr: '10.0.0.0/17' }, 'cidr'],
    [{ blockSize: 27 }, 'blockSize'],
  ] as const) {
    assert.throws(() => checkChange(resource('p', spec), before, { pools, nodes: [] }), {
      code: 'CONFIG_INVALID',
      object: 'IPPool/p',
      message: new RegExp(`spec.${field} can't change from .* create another pool`),
    });
  }
});

test('pools do not overlap', () => {
  const pools = [poolOf('a', {}), poolOf('b', { cidr: '10.2.0.0/16' }), poolOf('six', { cidr: 'fd00::/64' })];
  for (const cidr of ['10.0.4.0/24', '10.0.0.0/16', '10.0.0.0/8', 'fd00::/96']) {
    assert.throws(() => checkChange(resource('new', { cidr }), undefined, { pools, nodes: [] }), {
      code: 'CONFIG_INVALID',
      message: /overlaps .* of IPPool\/(a|six); choose a network that no other pool overlaps/,
    });
  }
  checkChange(resource('new', { cidr: '10.1.0.0/16' }), undefined, { pools, nodes: [] });
});

test('a new pool must not contain a node address', () => {
  const nodes = [{ name: 'node1', addresses: { 4: parseIp('172.30.0.11'), 6: parseIp('fd77::11') } }];
  const occupied = { pools: [], nodes };
  for (const cidr of ['172.30.0.0/20', '172.30.0.0/26', 'fd77::/64']) {
    assert.throws(() => checkChange(resource('p', { cidr }), undefined, occupied), {
      code: 'CONFIG_INVALID',
      message: /holds (172\.30\.0\.11|fd77::11), the address of node node1; choose/,
    });
  }
  checkChange(resource('p', { cidr: '172.30.0.64/26' }), undefined, occupied);
  const there = resource('p', { cidr: '172.30.0.0/20' });
  checkChange(resource('p', { cidr: '172.30.0.0/20', disabled: true }), there, occupied);
});

test('a pool can be deleted once no pod has an address from it and no node may assign one', () => {
  const open = poolOf('p', {});
  const disabled = poolOf('p', { disabled: true });
  for (const pool of [open, disabled]) {
    checkDeletion(pool, { blocks: 0, addresses: 0 });
    assert.throws(() => checkDeletion(pool, { blocks: 1, addresses: 2 }), {
      code: 'IN_USE',
      message: /2 pod addresses.* not masqueraded.*; .*--force/,
    });
  }
  checkDeletion(disabled, { blocks: 3, addresses: 0 });
  assert.throws(() => checkDeletion(open, { blocks: 3, addresses: 0 }), {
    code: 'IN_USE',
    message: /set disabled: true on it first/,
  });
});
