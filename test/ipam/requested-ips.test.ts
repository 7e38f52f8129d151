import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { requestedIps } from '../../src/ipam/requested-ips.ts';

describe('requestedIps', () => {
  it('is empty without a request', () => {
    for (const args of [undefined, '', 'IgnoreUnknown=1;K8S_POD_NAME=IP=1', 'IP=', 'IP=;K8S_POD_NAME=a'])
      assert.deepEqual(requestedIps({}, args), []);
    assert.deepEqual(requestedIps({ args: { cni: { labels: [] } }, runtimeConfig: { ips: [] } }), []);
    assert.deepEqual(requestedIps({ args: { cni: { ips: [''] } }, runtimeConfig: { ips: [''] } }), []);
  });

  it('combines all three sources without duplicates or prefix lengths', () => {
    const conf = {
      args: { cni: { ips: ['10.1.0.8/24', 'FD00::8'] } },
      runtimeConfig: { ips: ['10.1.0.9', '10.1.0.7', '::ffff:10.1.0.10'] },
    };
    assert.deepEqual(requestedIps(conf, 'IgnoreUnknown=1;IP=10.1.0.7/16'), [
      '10.1.0.7',
      '10.1.0.8',
      'fd00::8',
      '10.1.0.9',
      '10.1.0.10',
    ]);
    assert.deepEqual(requestedIps({}, 'IP=10.1.0.1;IP=10.1.0.2'), ['10.1.0.2']);
  });

  it('names the malformed source', () => {
    assert.throws(() => requestedIps({}, 'IP=ten'), { code: 'CONFIG_INVALID', object: 'CNI_ARGS' });
    assert.throws(() => requestedIps({ runtimeConfig: { ips: ['10.1.0.7', 'x'] } }), {
      code: 'CONFIG_INVALID',
      object: 'runtimeConfig.ips[1]',
    });
    assert.throws(() => requestedIps({ args: { cni: { ips: [7] } } }), { object: 'args.cni.ips[0]' });
  });
});
