import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { TunnelHandover } from '../../../../src/companions/bird/tunnel/handover.ts';

/** Runs on a mock clock. `ended` returns how many changes were reported as complete. */
function handover(t: TestContext): {
  tunnel: TunnelHandover;
  ended: () => number;
  pass: (ms: number) => void;
} {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let count = 0;
  const tunnel = new TunnelHandover(() => {
    count++;
  });
  t.after(() => tunnel[Symbol.dispose]());
  return { tunnel, ended: () => count, pass: (ms) => t.mock.timers.tick(ms) };
}

test('the tunnel receives for another 30 s when no pool requires it any more', (t) => {
  const { tunnel, ended, pass } = handover(t);
  tunnel.setWanted(true);
  assert.deepEqual(
    [tunnel.onlyReceives, tunnel.mustStay],
    [false, false],
    'required from the start: used at once',
  );
  tunnel.setWanted(false);
  pass(20_000);
  tunnel.setWanted(false);
  pass(9999);
  assert.deepEqual([tunnel.onlyReceives, tunnel.mustStay, ended()], [true, true, 0]);
  pass(1);
  assert.deepEqual([tunnel.onlyReceives, tunnel.mustStay, ended()], [false, false, 1]);
});

test('the tunnel receives for 5 s before anything is sent, even if it was still lingering', (t) => {
  const { tunnel, ended, pass } = handover(t);
  tunnel.setWanted(false);
  assert.equal(tunnel.onlyReceives, false);
  const wantAgain = (): void => {
    tunnel.setWanted(true);
    pass(4999);
    // Its address may be sought in the meantime.
    assert.deepEqual([tunnel.onlyReceives, tunnel.mustStay], [true, false]);
    pass(1);
    assert.equal(tunnel.onlyReceives, false);
  };
  wantAgain();
  tunnel.setWanted(false);
  pass(29_000);
  // Other nodes may have removed theirs by now.
  wantAgain();
  assert.equal(ended(), 2);
});

test('the 5 s start when the device exists, however long the kernel takes to create it', (t) => {
  const { tunnel, pass } = handover(t);
  tunnel.setWanted(false);
  tunnel.setWanted(true);
  pass(4000);
  tunnel.deviceCreated();
  pass(4999);
  assert.equal(tunnel.onlyReceives, true);
  pass(1);
  assert.equal(tunnel.onlyReceives, false);
  tunnel.deviceCreated();
  assert.equal(tunnel.onlyReceives, false, 'a healed device: its routes stay in use');
  tunnel.setWanted(false);
  tunnel.deviceCreated();
  pass(29_999);
  assert.equal(tunnel.onlyReceives, true, 'healing does not change how long it lingers');
});

test('a new cluster’s first pool uses the tunnel at once', (t) => {
  const { tunnel } = handover(t);
  tunnel.setWanted(false, false);
  tunnel.setWanted(true, false);
  assert.deepEqual([tunnel.onlyReceives, tunnel.mustStay], [false, false]);
});

test('an earlier agent’s tunnel stays until the pools are known, then lingers if none requires it', (t) => {
  const { tunnel, ended, pass } = handover(t);
  tunnel.adopt();
  pass(60_000);
  assert.equal(tunnel.mustStay, true);
  tunnel.setWanted(false);
  pass(29_999);
  assert.deepEqual([tunnel.onlyReceives, ended()], [true, 0]);
  pass(1);
  assert.deepEqual([tunnel.onlyReceives, ended()], [false, 1]);
});

test('a restarted agent keeps sending through the tunnel if a pool requires it', (t) => {
  const { tunnel } = handover(t);
  tunnel.adopt();
  tunnel.setWanted(true);
  assert.deepEqual([tunnel.onlyReceives, tunnel.mustStay], [false, false]);
});
