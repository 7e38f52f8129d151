import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostOf } from '../../../src/agent/underlay/host.ts';
import type { Link } from '../../../src/linux/link/link.ts';

test('another program’s ipvlan devices are named with their parent and mode, ours are not', () => {
  const link = (index: number, name: string, more: Partial<Link> = {}) =>
    ({ index, name, mtu: 1500, ...more }) as Link;
  const data = { kind: 'ipvlan', mode: 'l3', parent: 2 } as const;
  const links = [
    link(2, 'eth0'),
    link(3, 'ipvl0', { data }),
    link(4, 'flannel-ipvlan', { data, alias: 'flatnet shim' }),
  ];
  const { interfaces } = hostOf({ links, addresses: [], routes: [], isPodDevice: () => false });
  assert.deepEqual(interfaces, [
    { name: 'eth0', mtu: 1500 },
    { name: 'ipvl0', mtu: 1500, ipvlan: { parent: 'eth0', mode: 'l3' } },
  ]);
});
