import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import type { Diagnosis } from '../../src/doctor/doctor.ts';
import { agentStatus, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { Lab } from '../../src/lab/record/lab.ts';
import { eventually, ip, ipOne } from '../cni/host.ts';
import { CANNOT, flatnet } from './host.ts';
import { podsBesideNodes } from './physical.ts';

test('macvlan: pods beside nodes, and what happens to the shim, the MTU, the agent and a pod', {
  skip: CANNOT,
  timeout: 120_000,
}, async (t) => {
  const physical = await podsBesideNodes(t, 'macvlan');
  const { lab, shim } = physical;
  const { stdout } = await flatnet('doctor', '--lab', lab.name, '--node', 'node1', '--json');
  const { findings } = JSON.parse(stdout) as Diagnosis;
  assert.deepEqual(
    findings.filter(({ state }) => state === 'wrong'),
    [],
  );
  const before = physical.onShim('node1');
  assert.equal(before.length, 8);
  const mac = ipOne(physical.node('node1'), 'link', 'show', 'dev', shim).address;

  physical.run('node1', `link del ${shim}`);
  await eventually('the shim is back', () => physical.onShim('node1').length === before.length, 5000);
  assert.deepEqual(physical.onShim('node1'), before);
  assert.equal(ipOne(physical.node('node1'), 'link', 'show', 'dev', shim).address, mac, 'pods know its MAC');

  physical.run('node1', 'link set eth0 mtu 1400');
  const mtuOf = (netns: string, dev: string): number => ipOne(netns, 'link', 'show', 'dev', dev).mtu;
  await eventually('pods follow', () => mtuOf(physical.pod('a'), 'eth0') === 1400, 5000);
  physical.run('node1', 'link set eth0 mtu 1500');
  await eventually(
    'pods and shim follow again',
    () => mtuOf(physical.pod('a'), 'eth0') === 1500 && mtuOf(physical.node('node1'), shim) === 1500,
    5000,
  );

  await lab.ok('node', 'restart', 'node1', '--kill');
  await physical.works('after a restart');

  const opened = Lab.open(lab.name);
  // A parent that there is not, or that is a bridge's: named, at a start, too, and nothing is touched.
  physical.run('node1', 'link add br9 type bridge');
  physical.run('node1', 'link add port9 type veth peer name end9');
  physical.run('node1', 'link set port9 master br9 up');
  for (const [parent, problem] of [
    ['eth7', /: macvlan\.parent: this node has no interface eth7; choose one of .*eth0/],
    ['port9', /: macvlan\.parent: port9 is a port of br9, which takes all that port9 receives; try br9/],
  ] as const) {
    await physical.configure({ parent });
    for (const when of ['while it runs', 'at a start']) {
      const refuses = async () => problem.test((await agentStatus(opened, 'node1'))?.notReady ?? '');
      await eventually(`${parent} is refused ${when}`, refuses, 10_000);
      assert.deepEqual(physical.onShim('node1'), before);
      await lab.ok('matrix');
      await stopAgent(opened, 'node1', 'kill');
      await startAgent(opened, 'node1');
    }
  }
  await physical.configure({ parent: undefined });
  for (const name of ['port9', 'br9']) physical.run('node1', `link del ${name}`);
  await physical.works('with its own parent again');

  await lab.ok('pod', 'delete', 'b');
  await eventually('the node forgets the pod', () => physical.onShim('node1').length === 4);
  assert.ok(!existsSync(`/run/netns/${physical.pod('b')}`));
  assert.equal(ip(physical.node('node1'), 'link').length, 3, 'lo, eth0 and the shim');
});
