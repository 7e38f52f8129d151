import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policyFigures } from '../../../src/agent/policy/figures.ts';
import { PolicyLog } from '../../../src/agent/policy/log.ts';
import { PolicyWatch } from '../../../src/agent/policy/watch.ts';
import { poll } from '../../../src/async/poll.ts';
import type { Ip } from '../../../src/ip/address.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { Nflog } from '../../../src/linux/nflog.ts';
import { UdpSocket } from '../../../src/linux/udp.ts';
import { SILENT } from '../../../src/log.ts';
import type { Written } from '../../../src/policy/collect.ts';
import { WEB } from '../../policy/observe/policies.ts';
import { PODS, RoutedNode } from '../../policy/routed-node.ts';
import { NO_KERNEL, Running } from '../../state/namespace.ts';
import { inForceFor } from './in-force.ts';

const GROUP = 4711;

const LOG: Written = {
  kind: 'Calico NetworkPolicy',
  namespace: 'default',
  name: 'log',
  spec: {
    order: 1,
    selector: 'app == "web"',
    ingress: [{ action: 'Log', protocol: 'UDP', destination: { ports: [53] } }],
  },
};

const [A, B, C, D] = PODS.slice(0, 4) as [Ip, Ip, Ip, Ip];

async function until(holds: () => boolean): Promise<void> {
  assert.ok(await poll(async () => holds() || undefined, { every: 20, patience: 20_000 }));
}

test('what is denied or to be logged is told by names, a flood only as far as the kernel lets it', {
  skip: NO_KERNEL,
}, async () => {
  using node = new RoutedNode();
  using running = new Running({ path: netnsPath(node.name) });
  // Clients may reach port 53 of web; somebody unknown is at D.
  const names = new Map([
    [A, 'client'],
    [B, 'web'],
    [C, 'other'],
  ]);
  const inForce = inForceFor(names, [WEB, LOG], { group: GROUP, denied: true });
  running.wantAll(inForce.contributions);
  await running.settled();
  const lines: object[] = [];
  const log = { ...SILENT, info: (fields: object) => void lines.push(fields) };
  const policyLog = new PolicyLog({ node: () => inForce, log, netns: netnsPath(node.name) });
  const [stop, theirs] = [new AbortController(), new AbortController()];
  using _ended = { [Symbol.dispose]: () => [stop, theirs].map((each) => each.abort()) };
  const states: boolean[] = [];

  // A group that another program has is left to it.
  const ulogd = Nflog.open({
    netns: netnsPath(node.name),
    group: GROUP,
    bytes: 40,
    signal: theirs.signal,
  }).run(() => {});
  const listening = policyLog.listen(GROUP, stop.signal, (listens) => states.push(listens));
  await until(() => policyLog.problem !== undefined);
  assert.match(policyLog.problem?.cause ?? '', /another program listens to group 4711/);
  assert.deepEqual(states, []);
  theirs.abort();
  await ulogd;
  await until(() => states.length > 0);
  assert.deepEqual([states, policyLog.problem], [[true], undefined]);

  const send = (source: Ip, port: number, count = 1): void => {
    using socket = UdpSocket.open(node.at(source));
    for (let i = 0; i < count; i++) socket.send(Buffer.from('?'), { ip: B, port });
  };
  send(A, 53);
  send(A, 80, 3);
  send(D, 80);
  const begun = performance.now();
  send(C, 81, 20_000);
  const flows = () => policyLog.recent(0).flows;
  await until(() => flows().length >= 4);
  const brief = flows()
    .filter(({ from }) => from.ip !== C)
    .map(({ verdict, direction, from, to, port, packets }) => [
      verdict,
      direction,
      from.pod,
      to.pod,
      port,
      packets,
    ]);
  assert.deepEqual(brief.sort(), [
    ['allowed', 'ingress', 'default/client', 'default/web', 53, 1],
    ['denied', undefined, undefined, 'default/web', 80, 1],
    ['denied', 'ingress', 'default/client', 'default/web', 80, 3],
  ]);
  const because = (ip: Ip): string => flows().find(({ from }) => from.ip === ip)?.because ?? '';
  assert.match(because(D), /no pod of this node .* \(it came by fltp3\)/);
  assert.match(because(C), /NetworkPolicy default\/web isolate/);
  const told = flows().filter(({ from }) => from.ip === C);
  const packets = told.reduce((sum, flow) => sum + flow.packets, 0);
  const seconds = (performance.now() - begun) / 1000;
  assert.ok(packets >= 10 && packets <= 21 + 5 * seconds, `${packets} of 20,000 in ${seconds} s`);
  assert.equal(lines.length, flows().length);
  const figures = await policyFigures(inForce, netnsPath(node.name));
  assert.deepEqual(figures.denied, { ingress: 20_003, egress: 0, unprotected: 1 });
  const [seen, blind] = ['', '/absent'].map(
    (suffix) =>
      new PolicyWatch(
        () => inForce,
        policyLog,
        () => '',
        `${netnsPath(node.name)}${suffix}`,
      ),
  );
  assert.equal((await seen?.figures())?.figures?.denied.ingress, 20_003);
  const { figures: none, problems } = (await blind?.figures()) ?? assert.fail();
  assert.deepEqual([none, problems.map(({ id }) => id)], [undefined, ['kernel-unreadable']]);
  // What was logged since that report belongs to the next one.
  const most = 21 + (5 * (performance.now() - begun)) / 1000;
  assert.ok(figures.unlogged <= 20_000 - packets && figures.unlogged >= 20_000 - most);
  assert.deepEqual([figures.policies, figures.refused], [2, 0]);

  stop.abort();
  await listening;
  const [last = assert.fail()] = flows().slice(-1);
  const { last: number } = policyLog.recent(0);
  assert.deepEqual(policyLog.recent(number - 1), { flows: [last], missed: 0, last: number });
  assert.deepEqual(policyLog.recent(number), { flows: [], missed: 0, last: number });
  assert.equal(
    policyLog.recent(number + 1000).flows.length,
    number,
    'asked of an agent that was started anew',
  );
});
