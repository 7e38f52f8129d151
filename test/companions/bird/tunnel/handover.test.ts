import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { TunnelHandover } from '../../../../src/companions/bird/tunnel/handover.ts';

/** On a clock of its own. `ended` counts how often it said that a change is over. */
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

test('the tunnel receives for 30 s after the last pool has ceased to ask for it', (t) => {
  const { tunnel, ended, pass } = handover(t);
  tunnel.setWanted(true);
  assert.deepEqual([tunnel.onlyReceives, tunnel.stays], [false, false], 'asked for before: used at once');
  tunnel.setWanted(false);
  pass(20_000);
  tunnel.setWanted(false);
  pass(9999);
  assert.deepEqual([tunnel.onlyReceives, tunnel.stays, ended()], [true, true, 0]);
  pass(1);
  assert.deepEqual([tunnel.onlyReceives, tunnel.stays, ended()], [false, false, 1]);
});

test('it receives for 5 s before anything is sent through it, even while it still lingers', (t) => {
  const { tunnel, ended, pass } = handover(t);
  tunnel.setWanted(false);
  assert.equal(tunnel.onlyReceives, false);
  const comes = (): void => {
    tunnel.setWanted(true);
    pass(4999);
    // Its address may be looked for meanwhile.
    assert.deepEqual([tunnel.onlyReceives, tunnel.stays], [true, false]);
    pass(1);
    assert.equal(tunnel.onlyReceives, false);
  };
  comes();
  tunnel.setWanted(false);
  pass(29_000);
  // Other nodes’ may be gone already.
  comes();
  assert.equal(ended(), 2);
});

test('where the device takes its time, 5 s begin when it is there', (t) => {
  const { tunnel, pass } = handover(t);
  tunnel.setWanted(false);
  tunnel.setWanted(true);
  pass(4000);
  tunnel.made();
  pass(4999);
  assert.equal(tunnel.onlyReceives, true);
  pass(1);
  assert.equal(tunnel.onlyReceives, false);
  tunnel.made();
  assert.equal(tunnel.onlyReceives, false, 'healed: routes lead into it all the time');
  tunnel.setWanted(false);
  tunnel.made();
  pass(29_999);
  assert.equal(tunnel.onlyReceives, true, 'how long it lingers is not changed by that');
});

test('a new cluster’s first pool has its tunnel at once', (t) => {
  const { tunnel } = handover(t);
  tunnel.setWanted(false, false);
  tunnel.setWanted(true, false);
  assert.deepEqual([tunnel.onlyReceives, tunnel.stays], [false, false]);
});

test('what the agent before left stays until the pools are known, and lingers when they do not ask for it', (t) => {
  const { tunnel, ended, pass } = handover(t);
  tunnel.found();
  pass(60_000);
  assert.equal(tunnel.stays, true);
  tunnel.setWanted(false);
  pass(29_999);
  assert.deepEqual([tunnel.onlyReceives, ended()], [true, 0]);
  pass(1);
  assert.deepEqual([tunnel.onlyReceives, ended()], [false, 1]);
});

test('a restarted agent whose pools ask for the tunnel keeps sending through it', (t) => {
  const { tunnel } = handover(t);
  tunnel.found();
  tunnel.setWanted(true);
  assert.deepEqual([tunnel.onlyReceives, tunnel.stays], [false, false]);
});
