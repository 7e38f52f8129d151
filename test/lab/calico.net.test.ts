import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NO_BIRD } from '../companions/bird/bird.ts';
import { CANNOT, flatnet, ip, TestLab, traces } from './host.ts';

const skip = CANNOT || NO_BIRD;
const NOTHING = { namespaces: [], processes: [], files: [], links: [], mounts: [] };

type Pair = { readonly reached: boolean; readonly ownSource?: boolean };
type Pod = { readonly name: string; readonly node: string; readonly addresses: readonly string[] };
type Status = {
  readonly nodes: readonly { name: string; sessions: { established: number; expected: number } }[];
  readonly blocks: readonly { cidr: string; node: string; used: number }[];
  readonly pods: readonly Pod[];
  readonly problems: readonly string[];
};

/** Creates a pod `p1` on node1, and so on. Resolves when all reach each other. */
async function podsOn(lab: TestLab, ...nodes: number[]): Promise<void> {
  for (const node of nodes) await lab.ok('pod', 'create', `p${node}`, '--node', `node${node}`);
  await allReach(lab);
}

/** Resolves when all pods reach each other, with the sender's own address. Announcements take some time. */
async function allReach(lab: TestLab): Promise<void> {
  await until('all reach all', async () => {
    const pairs: Pair[] = JSON.parse((await lab.run('matrix', '--timeout', '300', '--json')).stdout);
    return pairs.length > 0 && pairs.every(({ reached, ownSource }) => reached && ownSource);
  });
}

async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `not within 60 s: ${what}`);
    await sleep(100);
  }
}

/** Calico's name for the node's end of a pod's veth pair. */
function hostDevice(pod: string): string {
  return `cali${createHash('sha1').update(`default.${pod}`).digest('hex').slice(0, 11)}`;
}

function routes(lab: TestLab, part: string): string[] {
  return ip(`${lab.name}-${part}`, 'route')
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
}

/** Captures the first packet that matches `filter`, as tcpdump prints it; resolves when tcpdump listens. */
async function capture(
  t: TestContext,
  netns: string,
  dev: string,
  filter: string,
): Promise<{ readonly packet: Promise<string> }> {
  const args = ['netns', 'exec', netns, 'tcpdump', '-l', '-env', '-c', '1', '-i', dev, filter];
  const tcpdump = spawn('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => tcpdump.kill());
  let text = '';
  tcpdump.stdout.on('data', (chunk) => {
    text += chunk;
  });
  const packet = new Promise<string>((resolve) => tcpdump.once('close', () => resolve(text)));
  await new Promise<void>((resolve, reject) => {
    tcpdump.stderr.on('data', (chunk) => `${chunk}`.includes('listening on') && resolve());
    tcpdump.once('error', reject);
  });
  return { packet };
}

test('a ping between two nodes takes the path that Calico documents, with a single IP header', {
  skip:
    skip || (!process.env.CI && !existsSync('/usr/bin/tcpdump') && 'needs tcpdump: apt-get install tcpdump'),
  timeout: 300_000,
}, async (t) => {
  const lab = new TestLab(t, 'g');
  assert.match(await lab.ok('up', '--preset', 'calico-bgp'), /\(bgp\)/);
  await podsOn(lab, 1, 2, 3);
  const { blocks, pods, nodes, problems } = await lab.json<Status>('status');
  assert.deepEqual(problems, []);
  assert.deepEqual(
    nodes.map(({ sessions }) => `${sessions.established}/${sessions.expected}`),
    ['2/2', '2/2', '2/2'],
  );
  const addressOf = (name: string): string => pods.find((pod) => pod.name === name)?.addresses[0] ?? '';
  const blockOf = (node: string): string => blocks.find((block) => block.node === node)?.cidr ?? '';
  const [p1, p2] = [addressOf('p1'), addressOf('p2')];
  const pod = (name: string): string => `${lab.name}.default.${name}`;
  const mac = (netns: string, dev: string): string =>
    JSON.parse(ip(netns, '-j', 'link', 'show', dev))[0].address;

  await t.test('the routing tables of pod and node', () => {
    assert.deepEqual(ip(pod('p1'), 'route').trim().split(/ *\n/), [
      'default via 169.254.1.1 dev eth0',
      '169.254.1.1 dev eth0 scope link',
    ]);
    assert.match(ip(pod('p1'), 'address', 'show', 'eth0'), new RegExp(`inet ${p1}/32 `));
    assert.deepEqual(
      routes(lab, 'node1').sort(),
      [
        'default via 172.30.0.1 dev eth0',
        '172.30.0.0/24 dev eth0 proto kernel scope link src 172.30.0.11',
        `${p1} dev ${hostDevice('p1')} proto 111 scope link`,
        `blackhole ${blockOf('node1')} proto 110`,
        `${blockOf('node2')} via 172.30.0.12 dev eth0 proto bird metric 32`,
        `${blockOf('node3')} via 172.30.0.13 dev eth0 proto bird metric 32`,
      ].sort(),
    );
  });
  await t.test('hop by hop', () => {
    const route = (netns: string, ...args: string[]): string => ip(netns, 'route', 'get', p2, ...args);
    assert.match(route(pod('p1')), new RegExp(`${p2} via 169.254.1.1 dev eth0 src ${p1} `));
    assert.match(
      route(`${lab.name}-node1`, 'from', p1, 'iif', hostDevice('p1')),
      new RegExp(`${p2} from ${p1} via 172.30.0.12 dev eth0`),
    );
    assert.match(
      route(`${lab.name}-node2`, 'from', p1, 'iif', 'eth0'),
      new RegExp(`${p2} from ${p1} dev ${hostDevice('p2')}`),
    );
  });
  await t.test('on the wire', async () => {
    const seen = await Promise.all([
      capture(t, `${lab.name}-node1`, hostDevice('p1'), 'icmp[icmptype] = icmp-echo'),
      // Whatever the encapsulation: a filter on the inner packet would not match in a tunnel.
      capture(t, `${lab.name}-node1`, 'eth0', 'ip and not tcp'),
      capture(t, `${lab.name}-node2`, hostDevice('p2'), 'icmp[icmptype] = icmp-echo'),
    ]);
    await lab.ok('ping', 'p1', 'p2', '-c', '1');
    const [first = '', wire = '', last = ''] = await Promise.all(seen.map(({ packet }) => packet));
    const request = new RegExp(`${p1} > ${p2}: ICMP echo request`);
    for (const text of [first, wire, last]) assert.match(text, request);
    assert.ok(first.includes(`${mac(pod('p1'), 'eth0')} > ee:ee:ee:ee:ee:ee, ethertype IPv4`), first);
    const ends = `${mac(`${lab.name}-node1`, 'eth0')} > ${mac(`${lab.name}-node2`, 'eth0')}`;
    assert.ok(wire.includes(`${ends}, ethertype IPv4`), wire);
    assert.match(wire, /ttl 63, .*proto ICMP \(1\)/, 'one router so far, and no encapsulation');
    assert.ok(last.includes(`ee:ee:ee:ee:ee:ee > ${mac(pod('p2'), 'eth0')}, ethertype IPv4`), last);
    assert.match(last, /ttl 62,/, 'two routers in all');
  });
  await lab.ok('down');
  assert.deepEqual(traces(lab.name), NOTHING);
});

test('with two route reflectors, nodes can be added and deleted without leaving traces', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const lab = new TestLab(t, 'r');
  await lab.ok('up', '--preset', 'calico-bgp', '--nodes', '4', '--reflectors', '2');
  await podsOn(lab, 1, 2, 3, 4);
  const sessions = async (): Promise<number[]> =>
    (await lab.json<Status>('status')).nodes.map(({ sessions }) => sessions.established);
  assert.deepEqual(await sessions(), [3, 3, 2, 2], 'N·R sessions and no mesh');
  assert.match(await cli('get', 'nodes', '--lab', lab.name), /node1 .*244\.0\.0\.1/);
  assert.match(await cli('get', 'bgppeers', '--lab', lab.name), /route-reflectors/);

  await lab.ok('node', 'add', 'edge');
  assert.deepEqual((await sessions()).length, 5);
  await lab.ok('node', 'delete', 'edge');
  const block = (await lab.json<Status>('status')).blocks.find(({ node }) => node === 'node4')?.cidr ?? '?';
  assert.ok(routes(lab, 'node3').some((route) => route.startsWith(block)));
  await lab.ok('node', 'delete', 'node4');
  await until('its routes are gone', () => !routes(lab, 'node3').some((route) => route.startsWith(block)));
  assert.ok((await lab.json<Status>('status')).blocks.every(({ node }) => node !== 'node4'));
  assert.match(await cli('ipam', 'check', '--lab', lab.name), /found 0 errors and 0 warnings/);
  assert.ok(traces(lab.name).processes.every((pid) => !commandOf(pid).includes('/nodes/node4/')));

  // One reflector is gone for good: the other suffices.
  await lab.ok('node', 'delete', 'node1');
  assert.doesNotMatch(await cli('get', 'nodes', '--lab', lab.name), /node1/);
  await allReach(lab);
  await lab.ok('node', 'restart', 'node2', '--kill');
  await lab.ok('node', 'stop', 'node3');
  await allReach(lab);
});

for (const program of ['bird', 'frr']) {
  const missing = program === 'frr' && !process.env.CI && !existsSync('/usr/lib/frr/bgpd');
  test(`two racks, each with a ${program} router and its own AS, in both families`, {
    skip: skip || (missing && 'needs FRR: apt-get install frr'),
    timeout: 300_000,
  }, async (t) => {
    const lab = new TestLab(t, program);
    const network = ['--network', '10.99.0.0/16,fd99::/56'];
    await lab.ok('up', '--preset', 'calico-bgp', '--subnets', '2', '--tor', program, ...network);
    await podsOn(lab, 1, 2, 3);
    const { blocks } = await lab.json<Status>('status');
    const blockOf = (name: string, start: string): string | undefined =>
      blocks.find(({ node, cidr }) => node === name && cidr.startsWith(start))?.cidr;
    const [near, far, far6] = [blockOf('node3', '10.'), blockOf('node2', '10.'), blockOf('node2', 'fd99:')];
    assert.ok(routes(lab, 'node1').includes(`${far} via 172.30.0.2 dev eth0 proto bird metric 32`));
    assert.ok(routes(lab, 'node1').includes(`${near} via 172.30.0.13 dev eth0 proto bird metric 32`));
    assert.ok(
      routes(lab, 'tor0').some((route) => route.startsWith(`${far} `) && route.includes('172.30.254.2')),
    );
    // RFC 2545: on a shared link the router's link-local address is the next hop.
    assert.match(
      ip(`${lab.name}-node1`, '-6', 'route', 'show', far6 ?? '?'),
      / via fe80::\S+ dev eth0 proto bird /,
    );
    assert.match(ip(`${lab.name}-tor0`, '-6', 'route', 'show', far6 ?? '?'), / dev eth1 /);
    assert.deepEqual(
      routes(lab, 'router').filter((route) => route.startsWith('10.')),
      [],
      'the underlay’s router has routes to pods',
    );
    await lab.ok('node', 'add', 'edge', '--subnet', '1');
    await lab.ok('pod', 'create', 'p4', '--node', 'edge');
    await allReach(lab);
    await lab.ok('node', 'delete', 'edge');
    await allReach(lab);
    const daemon = program === 'frr' ? 'bgpd' : 'bird';
    const { pid } = JSON.parse(
      readFileSync(`/run/flatnet/labs/${lab.name}/tors/tor1/${daemon}.json`, 'utf8'),
    );
    process.kill(pid, 'SIGKILL');
    await until('status reports it', async () => {
      const { problems }: Status = JSON.parse((await lab.run('status', '--json')).stdout);
      return problems.includes(`tor1: its ${daemon} is not running; rebuild the lab`);
    });
    await lab.ok('down');
    assert.deepEqual(traces(lab.name), NOTHING);
  });
}

test('an impossible lab is refused before anything is created', { skip }, async (t) => {
  const lab = new TestLab(t, 'x');
  const refused = async (status: number, text: RegExp, ...args: string[]): Promise<void> => {
    const result = await lab.run('up', ...args);
    assert.match(result.stderr, text);
    assert.equal(result.status, status);
    assert.deepEqual(traces(lab.name), NOTHING);
  };
  await refused(2, /--reflectors: needs BGP, but the backend is vxlan; add --preset/, '--reflectors', '1');
  await refused(2, /4 of 3 nodes/, '--preset', 'calico-bgp', '--reflectors', '4');
  await refused(2, /--tor: .*reflectors/, '--preset', 'calico-bgp', '--reflectors', '1', '--tor');
  await refused(2, /--tor: .*IPIP/, '--preset', 'calico', '--tor');
  await refused(2, /--backend: is vxlan/, '--preset', 'calico', '--backend', 'vxlan');
});

test('on a kernel without ipip, `--preset calico` fails and names an alternative', {
  skip: skip || (existsSync('/sys/module/ipip') && 'this kernel has ipip'),
}, async (t) => {
  const lab = new TestLab(t, 'i');
  const { status, stderr } = await lab.run('up', '--preset', 'calico', '--nodes', '1');
  if (status === 0) return;
  assert.match(stderr, /no ipip devices: .*; try: modprobe ipip; or do without it: --preset calico-bgp\n$/);
  assert.deepEqual(traces(lab.name), NOTHING);
});

/** Runs a `flatnet` command other than `flatnet lab`. */
async function cli(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await flatnet(...args);
  assert.equal(status, 0, stderr);
  return stdout;
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
