import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fields } from '../../../src/cluster/fields.ts';
import { readBandwidth } from '../../../src/cni/capabilities/bandwidth.ts';

const read = (bandwidth: unknown) => readBandwidth(new Fields({ runtimeConfig: { bandwidth } }));

test('bandwidth as containerd and CRI-O write it: bits, and a burst that nobody chose', () => {
  assert.deepEqual(
    read({ IngressRate: 8e6, IngressBurst: 4_294_967_295, EgressRate: 8e9, EgressBurst: 4_294_967_295 }),
    {
      ingress: { rate: 1e6, burst: 65_536 },
      egress: { rate: 1e9, burst: 1e7 },
    },
  );
  assert.deepEqual(read({ egressRate: 8e6, egressBurst: 34_359_738_359 }), {
    egress: { rate: 1e6, burst: 65_536 },
  });
  assert.deepEqual(read({ ingressRate: 8e6, ingressBurst: 800_000 }), {
    ingress: { rate: 1e6, burst: 100_000 },
  });
});

test('no rate asks for nothing', () => {
  for (const none of [{}, { ingressRate: 0, egressRate: 0 }, { IngressRate: 0, IngressBurst: 4_294_967_295 }])
    assert.equal(read(none), undefined);
  assert.equal(readBandwidth(new Fields({ runtimeConfig: { bandwidth: null } })), undefined);
});

test('a rate that cannot be kept is refused by name', () => {
  assert.throws(() => read({ ingressRate: 7 }), /runtimeConfig\.bandwidth\.ingressRate: must be at least 8/);
  assert.throws(() => read({ egressRate: -1 }), /egressRate/);
  assert.throws(() => read({ egressRate: '1M' }), /egressRate/);
});

test('a burst is never longer than the kernel can count', () => {
  assert.equal(read({ ingressRate: 1000, ingressBurst: 8e6 })?.ingress?.burst, 500);
});
