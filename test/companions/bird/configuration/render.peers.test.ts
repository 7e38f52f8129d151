import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { birdConfig } from '../../../../src/companions/bird/configuration/render.ts';
import { complaintOf, NO_BIRD } from '../bird.ts';
import { hostileClusters } from './arbitraries.ts';

test('BIRD accepts the configuration of any cluster, whatever its names and addresses', {
  skip: NO_BIRD,
  timeout: 300_000,
}, () => {
  let sessions = 0;
  fc.assert(
    fc.property(hostileClusters, (facts) => {
      const config = birdConfig(facts, '/dev/null');
      sessions += config.sessions.length;
      assert.equal(complaintOf(config.text), '', config.text);
    }),
    { numRuns: 600 },
  );
  assert.ok(sessions > 300, `the clusters had ${sessions} sessions`);
});

test('BIRD rejects an invalid configuration', { skip: NO_BIRD }, () => {
  assert.match(complaintOf('router id 10.0.0.1;\nprotocol bgp table { }\n'), /syntax error/);
});
