import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Step } from '../../../src/takeover/flannel/plan.ts';
import { matchPods } from '../../../src/takeover/flannel/pods.ts';
import { takeStep } from '../../../src/takeover/node/steps.ts';
import { reservation, usualNode } from '../flannel/found.ts';

/** Adopting a pod that the runtime does not remember, reserved so many milliseconds ago. */
function adopting(t: TestContext, age: number, isNew: boolean): Step {
  const dir = join(mkdtempSync(join(tmpdir(), 'flatnet-takeover-steps-')), 'cbr0');
  t.after(() => rmSync(join(dir, '..'), { recursive: true, force: true }));
  mkdirSync(dir);
  const file = join(dir, '10.244.1.5');
  writeFileSync(file, 'web\r\neth0');
  const made = (Date.now() - age) / 1000;
  utimesSync(file, made, made);
  const reservations = [{ ...reservation('10.244.1.5', 'web', 'eth0', isNew), dir }];
  const [pod] = matchPods(usualNode({ reservations, results: [] })).adoptions;
  assert.ok(pod);
  return { action: 'adopt', object: 'pod web', text: '', pod };
}

test('a pod whose ADD may still run is not adopted before that is over', async (t) => {
  const step = adopting(t, 29_700, true);
  const start = performance.now();
  assert.equal(await takeStep(step, async () => assert.fail('adopted')), undefined);
  const waited = performance.now() - start;
  assert.ok(waited > 200 && waited < 5_000, `${waited} ms`);
});

test('why a pod is not adopted is told, not thrown', async (t) => {
  const step = adopting(t, 60_000, false);
  assert.equal(await takeStep(step, async () => 'its MAC is another’s'), 'its MAC is another’s');
});

test('reservations move to the other folder, but for those that are another pod’s there', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'flatnet-takeover-move-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const [from, to] = [join(root, 'mynet'), join(root, 'cbr0')];
  mkdirSync(from);
  const reserve = (dir: string, ip: string, owner: string): void => writeFileSync(join(dir, ip), owner);
  for (const ip of ['10.244.1.5', '10.244.1.6', '10.244.1.7', 'fd00::5', 'last_reserved_ip.0', 'lock'])
    reserve(from, ip, `${ip}\r\neth0`);
  const step: Step = { action: 'move', object: 'reservations', text: '', reservations: { from, to } };
  mkdirSync(to);
  reserve(to, '10.244.1.6', '10.244.1.6\r\neth0');
  reserve(to, '10.244.1.7', 'other\r\neth0');
  const refused = await takeStep(step, async () => undefined);
  assert.equal(refused, `10.244.1.7 reserved in ${to} for another pod`);
  assert.deepEqual(readdirSync(from).toSorted(), ['10.244.1.7', 'last_reserved_ip.0', 'lock']);
  assert.deepEqual(readdirSync(to).toSorted(), ['10.244.1.5', '10.244.1.6', '10.244.1.7', 'fd00::5']);
});

test('a reservation that a DEL frees while the others move is no error, and replaces none', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'flatnet-takeover-move-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const [from, to] = [join(root, 'mynet'), join(root, 'cbr0')];
  for (const dir of [from, to]) mkdirSync(dir);
  // It is listed, and then it cannot be read.
  symlinkSync(join(root, 'gone'), join(from, '10.244.1.5'));
  writeFileSync(join(to, '10.244.1.5'), 'next\r\neth0');
  writeFileSync(join(from, '10.244.1.6'), 'web\r\neth0');
  const step: Step = { action: 'move', object: 'reservations', text: '', reservations: { from, to } };
  assert.equal(await takeStep(step, async () => undefined), undefined);
  assert.equal(readFileSync(join(to, '10.244.1.5'), 'utf8'), 'next\r\neth0');
  assert.equal(readFileSync(join(to, '10.244.1.6'), 'utf8'), 'web\r\neth0');
});
