import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guardItems } from '../../src/guard/guard.ts';
import { command } from '../../src/state/print.ts';

const textOf = (wiring: 'bridge' | 'routed'): readonly string[] => {
  const decapsulates = { udp: [51820], protocols: [47, 50] };
  const { routed } = guardItems([], { network: { wiring }, families: [4, 6], decapsulates });
  return routed.map((item) => command(item, 'add'));
};

test('pods may send nothing that the backend says nodes decapsulate, with either wiring', () => {
  for (const [wiring, device] of [
    ['bridge', 'iifname "cni0" '],
    ['routed', ''],
  ] as const) {
    const tables = textOf(wiring);
    assert.equal(tables.length, 2);
    for (const table of tables) {
      for (const protocol of [4, 47, 50])
        assert.match(table, new RegExp(`(ip protocol|meta l4proto) ${protocol} ${device}drop`));
      for (const port of [4789, 8472, 51820]) assert.match(table, new RegExp(`${port} goto tunnel-port`));
      assert.match(table, wiring === 'bridge' ? /iifname "cni0" drop/ : /iifname "cali\*" drop/);
    }
  }
});
