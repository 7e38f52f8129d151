import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Answer, call, eventually, Host, ip, Pod, pings } from '../../host.ts';
import { NO_REFERENCE, reference } from '../../reference.ts';

const SUBNET = '10.7.0.0/24';

type Side = {
  readonly host: Host;
  readonly run: (command: string, pod: Pod, id: string) => Promise<Answer> | Answer;
};

/** Returns the reservations in one side's network. */
function files({ host }: Side): Record<string, string> {
  const dir = join(host.dataDir, 'cbr0');
  const names = existsSync(dir) ? readdirSync(dir).filter((name) => !/^(lock$|\.spare-)/.test(name)) : [];
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(dir, name), 'utf8')]));
}

/** Returns a node's routes to its pods, without device names. */
function nodeRoutes({ host }: Side): unknown[] {
  return ip(host.netns, 'route')
    .filter(({ dst }) => dst.startsWith('10.7.'))
    .map(({ dst, gateway }) => ({ dst, gateway }));
}

test('behaves like the reference plugin ptp wherever their features overlap', {
  skip: NO_REFERENCE,
}, async () => {
  const options = { wiring: 'routed', subnets: [SUBNET], networks: [SUBNET] } as const;
  await using ours = new Host(options);
  await using theirs = new Host(options);
  const ipam = {
    type: 'host-local',
    dataDir: theirs.dataDir,
    ranges: [[{ subnet: SUBNET }]],
    routes: [{ dst: '0.0.0.0/0' }],
  };
  const sides: readonly Side[] = [
    {
      host: ours,
      run: (command, pod, id) => call(ours, command, { pod, id, conf: { cniVersion: '1.0.0' } }),
    },
    {
      host: theirs,
      run: (command, pod, id) =>
        reference(theirs, 'ptp', command, { pod, id, conf: { cniVersion: '1.0.0', type: 'ptp', ipam } }),
    },
  ];
  const both = async (what: string, look: (side: Side) => unknown): Promise<void> => {
    const [us, them] = [await look(sides[0] ?? assert.fail()), await look(sides[1] ?? assert.fail())];
    assert.deepEqual(us, them, what);
  };
  const pods = new Map<Side, readonly Pod[]>();
  using stack = new DisposableStack();
  for (const side of sides) pods.set(side, [stack.use(new Pod()), stack.use(new Pod())]);
  const each = (side: Side, command: string) =>
    Promise.all((pods.get(side) ?? []).map(async (pod, i) => (await side.run(command, pod, `c${i}`)).exit));

  for (const side of sides) assert.deepEqual(await each(side, 'ADD'), [0, 0]);
  await both('reservations', files);
  await both('a route for each pod', (side) =>
    nodeRoutes(side).filter((route) => !/\.1"/.test(JSON.stringify(route))),
  );
  await both('pods reach each other and the node', (side) => {
    const [a, b] = pods.get(side) ?? [];
    return [
      pings(a?.name ?? '', '10.7.0.3'),
      pings(b?.name ?? '', '192.0.2.1'),
      pings(side.host.netns, '10.7.0.2'),
    ];
  });
  await both('a second ADD', (side) => each(side, 'ADD'));
  await both('DEL', (side) => each(side, 'DEL'));
  await both('DEL again', (side) => each(side, 'DEL'));
  await both('reservations after DEL', files);
  await both('routes after DEL', nodeRoutes);
  await eventually('our links are gone too', () =>
    sides.every(({ host }) => ip(host.netns, 'link').length === 3),
  );
});
