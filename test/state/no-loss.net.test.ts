import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { nthIp, parseCidr } from '../../src/ip/cidr.ts';
import { factsOf, type Plan, selfOf } from '../backends/cluster.ts';
import { composedState } from '../desired/composed.ts';
import { Namespace, NO_KERNEL, Running } from './namespace.ts';

const PLAN: Plan = { size: 3, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };
const SMALLER: Plan = { ...PLAN, backend: { Type: 'vxlan', MTU: 1400 } };
const DIRECT: Plan = { ...PLAN, backend: { Type: 'vxlan', DirectRouting: true } };

test('changes under a running ping lose nothing: tunnel to direct route and back, other peers, MTU', {
  skip: NO_KERNEL,
}, async () => {
  using first = new Namespace(PLAN);
  using second = new Namespace(PLAN, [], 1);
  first.join(second);
  using here = new Running(first);
  using there = new Running(second);
  const want = (plan: Plan) => {
    here.want(composedState(factsOf(plan, 0)).items);
    there.want(composedState(factsOf(plan, 1)).items);
  };
  const settled = () => Promise.all([here.settled(), there.settled()]);
  want(PLAN);
  await settled();
  const [from4, from6] = selfOf(PLAN, 0).node.subnets.map((subnet) => nthIp(parseCidr(subnet), 1));
  const [to4, to6] = selfOf(PLAN, 1).node.subnets.map((subnet) => nthIp(parseCidr(subnet), 1));
  assert.ok(from4 && from6 && to4 && to6);
  const ping = (family: 4 | 6, from: string, to: string) =>
    first.start('ping', `-${family}`, '-q', '-i', '0.01', '-w', '4', '-I', from, to);
  // The bridge has no port here and so no carrier; its addresses answer anyway. One ping resolves the
  // underlay's neighbours.
  await first.start('ping', '-4', '-c1', '-W2', '-I', from4, to4);
  await first.start('ping', '-6', '-c1', '-W2', '-I', from6, to6);
  want(DIRECT);
  await settled();
  await first.start('ping', '-4', '-c1', '-W2', '-I', from4, to4);
  await first.start('ping', '-6', '-c1', '-W2', '-I', from6, to6);
  const running = Promise.all([ping(4, from4, to4), ping(6, from6, to6)]);
  await sleep(200);
  for (let i = 0; i < 4; i++) {
    for (const plan of [PLAN, DIRECT, { ...DIRECT, size: 8 }, SMALLER]) {
      want(plan);
      await settled();
      await sleep(30);
    }
  }
  for (const report of [...here.reports, ...there.reports]) assert.deepEqual(report.undone, []);
  for (const result of await running) assert.match(result, / 0% packet loss/, result);
});
