import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { applyRuleset } from '../../src/linux/nftables/ruleset.ts';
import { factsOf } from '../backends/cluster.ts';
import { composedState } from '../desired/composed.ts';
import { NO_KERNEL, Running } from './namespace.ts';

/** The single table of earlier versions: BGP with IPIP, routed pods, a plan of blocks. */
const ONE_TABLE = `
table ip flatnet {
  set nodes { type ipv4_addr; }
  chain ipip {
    type filter hook input priority filter; policy accept;
    ip protocol 4 ip saddr != @nodes drop comment "IPIP: only nodes send it"
  }
  chain tunnel {
    type nat hook postrouting priority srcnat + 4; policy accept;
    oifname "tunl0" fib saddr type local fib saddr . oif type != local masquerade comment "this host to a service"
  }
  set pools { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/8 }; }
  set hidden { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/8 }; }
  set own { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.1.0/24 }; }
  set exclude { type ipv4_addr; flags interval; auto-merge; }
  chain postrouting {
    type nat hook postrouting priority srcnat + 5; policy accept;
    meta mark & 0x4000 == 0x4000 return comment "kube-proxy will masquerade"
    ip saddr @pools ip daddr @pools return comment "pods see the addresses of pods"
    ip daddr @own return comment "pods here see who called from outside"
    ip daddr @exclude return comment "configured: sees the addresses of pods"
    ip daddr 224.0.0.0/4 return comment "multicast"
    ip saddr @hidden tcp dport { 179 } return comment "no pod speaks BGP in the node’s name"
    ip saddr @hidden udp dport { 3784, 4784 } return comment "no pod speaks BGP in the node’s name"
    ip saddr @hidden masquerade fully-random comment "pod to outside"
  }
  chain pods {
    type filter hook prerouting priority raw; policy accept;
    iifname != "cali*" accept
    fib saddr . iif oif missing drop comment "a source that is not its own"
    meta l4proto 4 drop comment "IPIP: only nodes send it"
    ip daddr 127.0.0.0/8 drop comment "the host’s own loopback"
  }
  chain tunnels {
    type filter hook prerouting priority mangle; policy accept;
    iifname != "cali*" accept
    ct direction reply accept comment "an answer"
    udp dport { 4789, 8472 } drop comment "VXLAN: only nodes send it"
  }
}
table ip6 flatnet {
  set pools { type ipv6_addr; flags interval; auto-merge; elements = { fd10::/32 }; }
  chain postrouting {
    type nat hook postrouting priority srcnat + 5; policy accept;
    ip6 saddr @pools masquerade fully-random
  }
}
add element ip flatnet nodes { 172.16.0.3, 172.16.0.4 }
`;

const OUTSIDE = '172.16.0.9';
const NODE = '172.16.0.2';
const POD = '10.0.1.5';

/** Answers on TCP, and finally reports how many datagrams arrived from each source. */
const SERVER = `
  const sources = new Map();
  require('node:dgram').createSocket('udp4').bind(7000)
    .on('message', (_, { address }) => sources.set(address, (sources.get(address) ?? 0) + 1));
  require('node:net').createServer((socket) => socket.pipe(socket)).listen(7001, () => console.log('listens'));
  process.on('SIGTERM', () => { console.log(JSON.stringify([...sources])); process.exit(0); });
`;
/** Starts a flow every two milliseconds, keeps one connection open, and finally reports what it sent. */
const CLIENT = `
  const dgram = require('node:dgram');
  let [sent, back] = [0, 0];
  const socket = require('node:net').connect(7001, '${OUTSIDE}', () => console.log('connected'));
  socket.on('data', (data) => { back += data.length; });
  socket.on('error', (error) => { console.log(error.message); process.exit(1); });
  const timer = setInterval(() => {
    const one = dgram.createSocket('udp4');
    one.send('x', 7000, '${OUTSIDE}', () => { sent++; setTimeout(() => one.close(), 1000); });
    socket.write('x');
  }, 2);
  process.on('SIGTERM', () => {
    clearInterval(timer);
    setTimeout(() => { console.log(JSON.stringify([sent, socket.bytesWritten, back])); process.exit(0); }, 300);
  });
`;

test('from a single table to one per concern: under traffic, nothing is lost and nothing left over', {
  skip: NO_KERNEL,
}, async (t) => {
  const prefix = `fn-upgrade-${process.pid}`;
  const netns = (what: string) => `${prefix}-${what}`;
  const run = (...command: string[]) =>
    execFileSync(command[0] ?? '', command.slice(1), { encoding: 'utf8' });
  const ip = (where: string, command: string) => run('ip', '-n', netns(where), ...command.split(' '));
  const nft = (command: string) => run('ip', 'netns', 'exec', netns('node'), 'nft', ...command.split(' '));
  const children: ChildProcess[] = [];
  t.after(() => {
    for (const child of children) child.kill('SIGKILL');
    for (const what of ['node', 'outside', 'pod']) run('ip', 'netns', 'del', netns(what));
  });
  for (const what of ['node', 'outside', 'pod']) run('ip', 'netns', 'add', netns(what));
  ip('node', `link add eth0 type veth peer name eth0 netns ${netns('outside')}`);
  ip('node', `link add cali0 type veth peer name eth0 netns ${netns('pod')}`);
  for (const [where, address, device] of [
    ['node', `${NODE}/16`, 'eth0'],
    ['node', '10.0.1.1/24', 'cali0'],
    ['outside', `${OUTSIDE}/16`, 'eth0'],
    ['pod', `${POD}/24`, 'eth0'],
  ] as const) {
    ip(where, `address add ${address} dev ${device}`);
    ip(where, `link set ${device} up`);
  }
  ip('pod', 'route add default via 10.0.1.1');
  run('ip', 'netns', 'exec', netns('node'), 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  await applyRuleset(ONE_TABLE, { netns: `/run/netns/${netns('node')}` });

  const start = async (where: string, script: string) => {
    const child = spawn('ip', ['netns', 'exec', netns(where), process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    await once(child.stdout, 'data');
    return async () => {
      child.kill('SIGTERM');
      await once(child, 'close');
      return text.trim().split('\n').at(-1) ?? '';
    };
  };
  const stopServer = await start('outside', SERVER);
  const stopClient = await start('pod', CLIENT);
  await sleep(300);

  const plan = { size: 3, families: [4], backend: { Type: 'bgp', ipip: 'Always' }, networks: 1 } as const;
  const facts = factsOf(plan);
  const network = { ...facts.network, wiring: 'routed', addresses: 'blocks' } as const;
  const { items } = composedState({ ...facts, network });
  {
    using running = new Running({ path: `/run/netns/${netns('node')}` });
    running.want(items.filter(({ kind }) => kind.startsWith('nft-')));
    await running.settled();
    await sleep(300);
    assert.deepEqual((await running.reconciler.run()).done, []);
  }
  const [sent, written, back] = JSON.parse(await stopClient());
  const sources = JSON.parse(await stopServer());
  assert.ok(sent > 100, `${sent} flows`);
  assert.deepEqual(sources, [[NODE, sent]]);
  assert.equal(back, written);
  assert.deepEqual(nft('list tables').trim().split('\n').sort(), [
    'table arp flatnet-pods',
    ...['host-ports', 'masquerade', 'pods', 'tunnels'].map((name) => `table ip flatnet-${name}`),
  ]);
  t.diagnostic(`${sent} flows, ${back} bytes of a connection`);
});
