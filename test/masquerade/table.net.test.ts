import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import type { Family } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { SILENT } from '../../src/log.ts';
import { masqueradeItems } from '../../src/masquerade/table.ts';
import { Reconciler } from '../../src/state/reconciler.ts';
import { asOne } from '../desired/composed.ts';
import { NO_KERNEL } from '../state/namespace.ts';

/*
 * client ── node ── peer, and a pod on the node's bridge. The peer answers for a remote pod, the world
 * outside, an excluded network; it notes which source address each echo request came with.
 */
const ADDRESSES = {
  4: {
    network: '10.0.0.0/8',
    own: '10.0.1.0/24',
    gateway: '10.0.1.1',
    pod: '10.0.1.7',
    length: '24',
    host: '32',
    node: '172.16.0.2',
    peer: '172.16.0.9',
    nodeToClient: '192.168.9.1',
    client: '192.168.9.2',
    remotePod: '10.0.2.5',
    thirdPod: '10.0.3.5',
    outside: '198.51.100.5',
    excluded: '192.0.2.5',
    marked: '203.0.113.5',
    multicast: '224.0.0.0/4',
  },
  6: {
    network: 'fd10::/32',
    own: 'fd10:0:0:1::/64',
    gateway: 'fd10:0:0:1::1',
    pod: 'fd10:0:0:1::7',
    length: '64',
    host: '128',
    node: 'fd00::2',
    peer: 'fd00::9',
    nodeToClient: 'fd09::1',
    client: 'fd09::2',
    remotePod: 'fd10:0:0:2::5',
    thirdPod: 'fd10:0:0:3::5',
    outside: '2001:db8:1::5',
    excluded: '2001:db8:2::5',
    marked: '2001:db8:3::5',
    multicast: 'ff00::/8',
  },
} as const;

const NO_PORTS = { tcp: [], udp: [] };

function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: 'pipe' });
}

for (const family of [4, 6] as const) {
  test(`who sees which source address, IPv${family}`, { skip: NO_KERNEL }, async () => {
    const name = (what: string) => `fn-masq-${process.pid}-${family}-${what}`;
    const names = ['node', 'peer', 'client', 'pod'];
    for (const what of names) run('ip', 'netns', 'add', name(what));
    try {
      build(family, name);
      const { network, own, excluded } = ADDRESSES[family];
      const rules = {
        enabled: true,
        randomFully: true,
        exclude: [parseCidr(`${excluded}/${ADDRESSES[family].length}`)],
      };
      const all = [parseCidr(network)];
      const networks = { all, hidden: all, own: [parseCidr(own)], returns: true };
      using reconciler = new Reconciler({ netns: `/run/netns/${name('node')}`, log: SILENT });
      reconciler.allowPrune();
      reconciler.setDesired(asOne(masqueradeItems(rules, family, networks, NO_PORTS)));
      assert.deepEqual((await reconciler.run()).undone, []);
      check(family, name);
      // Blocks of pools: without natOutgoing a pod shows its address; and clients from outside are not
      // masqueraded.
      const others = [...all, parseCidr(`${excluded}/${ADDRESSES[family].length}`)];
      for (const [hidden, source] of [
        [all, ADDRESSES[family].node],
        [others.slice(1), ADDRESSES[family].pod],
      ] as const) {
        reconciler.setDesired(
          asOne(
            masqueradeItems(rules, family, { ...networks, all: others, hidden, returns: false }, NO_PORTS),
          ),
        );
        assert.deepEqual((await reconciler.run()).undone, []);
        checkPools(family, name, source);
      }
      reconciler.setDesired(
        asOne(
          masqueradeItems(
            rules,
            family,
            { ...networks, returns: false },
            { tcp: [179, 1179], udp: [3784, 4784] },
          ),
        ),
      );
      assert.deepEqual((await reconciler.run()).undone, []);
      checkBgp(family, name);
      reconciler.setDesired(asOne(masqueradeItems(rules, family, { ...networks, hidden: [] }, NO_PORTS)));
      await reconciler.run();
      assert.doesNotMatch(run('ip', 'netns', 'exec', name('node'), 'nft', 'list', 'tables'), /flatnet/);
    } finally {
      for (const what of names) run('ip', 'netns', 'del', name(what));
    }
  });
}

function build(family: Family, name: (what: string) => string): void {
  const a = ADDRESSES[family];
  const ip = (where: string, command: string) => run('ip', '-n', name(where), ...command.split(' '));
  const nodad = family === 6 ? ' nodad' : '';
  const address = (where: string, text: string, dev: string) =>
    ip(where, `address add ${text} dev ${dev}${nodad}`);
  const wire = (where: string, dev: string) => {
    ip('node', `link add ${dev} type veth peer name eth0 netns ${name(where)}`);
    ip('node', `link set ${dev} up`);
    ip(where, 'link set lo up');
    ip(where, 'link set eth0 up');
  };
  ip('node', 'link set lo up');
  // Without duplicate address detection, which would hold up the first packets.
  for (const where of ['node', 'peer', 'client', 'pod']) {
    for (const scope of ['all', 'default']) {
      run('ip', 'netns', 'exec', name(where), 'sysctl', '-qw', `net/ipv6/conf/${scope}/accept_dad=0`);
    }
  }
  wire('peer', 'eth0');
  wire('client', 'eth1');
  wire('pod', 'cni0');
  address('node', `${a.node}/${a.length}`, 'eth0');
  address('node', `${a.nodeToClient}/${a.length}`, 'eth1');
  address('node', `${a.gateway}/${a.length}`, 'cni0');
  address('pod', `${a.pod}/${a.length}`, 'eth0');
  address('client', `${a.client}/${a.length}`, 'eth0');
  address('client', `${a.thirdPod}/${a.host}`, 'lo');
  address('peer', `${a.peer}/${a.length}`, 'eth0');
  for (const far of [a.remotePod, a.outside, a.excluded, a.marked]) address('peer', `${far}/${a.host}`, 'lo');
  const v = `-${family}`;
  ip('pod', `${v} route add default via ${a.gateway}`);
  ip('client', `${v} route add default via ${a.nodeToClient}`);
  ip('peer', `${v} route add default via ${a.node}`);
  ip('node', `${v} route add default via ${a.peer}`);
  ip('node', `${v} route add ${a.thirdPod}/${a.host} via ${a.client}`);
  const forwarding = family === 4 ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding';
  run('ip', 'netns', 'exec', name('node'), 'sysctl', '-qw', `${forwarding}=1`);
  const nft = (where: string, rules: string) => run('ip', 'netns', 'exec', name(where), 'nft', rules);
  const [type, field, icmp] = family === 4 ? ['ipv4_addr', 'ip', 'icmp'] : ['ipv6_addr', 'ip6', 'icmpv6'];
  for (const where of ['peer', 'pod']) {
    nft(where, `add table inet seen; add set inet seen sources { type ${type}; flags dynamic; size 64; }`);
    nft(where, 'add chain inet seen in { type filter hook input priority 0; }');
    nft(where, `add rule inet seen in ${icmp} type echo-request update @sources { ${field} saddr }`);
    nft(where, `add rule inet seen in meta l4proto { tcp, udp } update @sources { ${field} saddr }`);
  }
  nft(
    'node',
    'add table inet proxy; add chain inet proxy pre { type filter hook prerouting priority mangle; }',
  );
  // Marks packets like kube-proxy; the other bits of the mark have other owners.
  nft('node', `add rule inet proxy pre ${field} daddr ${a.marked} meta mark set 0x4001`);
}

function checkPools(family: Family, name: (what: string) => string, source: string): void {
  const a = ADDRESSES[family];
  const seen = watcher(name);
  assert.deepEqual(seen('pod', a.outside, 'peer'), [source], 'pod to outside');
  assert.deepEqual(seen('pod', a.remotePod, 'peer'), [a.pod], 'pod to pod of another node');
  assert.deepEqual(seen('client', a.remotePod, 'peer'), [a.client], 'outside to a remote pod');
}

/** A peer would trust BGP packets from a node's address. */
function checkBgp(family: Family, name: (what: string) => string): void {
  const a = ADDRESSES[family];
  const seen = (from: string, protocol: 'tcp' | 'udp', port: number): string[] => {
    run('ip', 'netns', 'exec', name('peer'), 'nft', 'flush set inet seen sources');
    try {
      const send = `echo > /dev/${protocol}/${a.outside}/${port}`;
      run('ip', 'netns', 'exec', name(from), 'timeout', '2', 'bash', '-c', send);
    } catch {
      // Nothing listens there.
    }
    return sourcesAt('peer', name);
  };
  for (const port of [179, 1179]) assert.deepEqual(seen('pod', 'tcp', port), [a.pod], `BGP at ${port}`);
  for (const port of [3784, 4784]) assert.deepEqual(seen('pod', 'udp', port), [a.pod], `BFD at ${port}`);
  assert.deepEqual(seen('pod', 'tcp', 180), [a.node], 'another port');
  assert.deepEqual(seen('node', 'tcp', 179), [a.node], 'the node itself');
}

/** Returns the source addresses of the echo requests that arrived. */
function watcher(name: (what: string) => string) {
  return (from: string, to: string, at: string, source?: string): string[] => {
    run('ip', 'netns', 'exec', name(at), 'nft', 'flush set inet seen sources');
    const bind = source === undefined ? [] : ['-I', source];
    try {
      run('ip', 'netns', 'exec', name(from), 'ping', '-c1', '-W1', ...bind, to);
    } catch {
      // Only the request counts here; where it arrived is looked up below.
    }
    return sourcesAt(at, name);
  };
}

function sourcesAt(at: string, name: (what: string) => string): string[] {
  const set = JSON.parse(run('ip', 'netns', 'exec', name(at), 'nft', '-j', 'list set inet seen sources'));
  return set.nftables.at(-1).set.elem ?? [];
}

function check(family: Family, name: (what: string) => string): void {
  const a = ADDRESSES[family];
  const seen = watcher(name);
  assert.deepEqual(seen('pod', a.remotePod, 'peer'), [a.pod], 'pod to pod of another node');
  assert.deepEqual(seen('pod', a.outside, 'peer'), [a.node], 'pod to outside');
  assert.deepEqual(seen('pod', a.excluded, 'peer'), [a.pod], 'pod to an excluded network');
  assert.deepEqual(seen('pod', a.marked, 'peer'), [a.pod], 'marked: left to kube-proxy');
  assert.deepEqual(seen('node', a.remotePod, 'peer'), [a.node], 'this host to a remote pod');
  assert.deepEqual(
    seen('node', a.remotePod, 'peer', a.gateway),
    [a.gateway],
    'this host by its bridge address',
  );
  assert.deepEqual(
    seen('node', a.remotePod, 'peer', a.nodeToClient),
    [a.nodeToClient],
    'this host by any address of its own',
  );
  assert.deepEqual(
    seen('client', a.remotePod, 'peer'),
    [a.node],
    'outside to a remote pod, through this node',
  );
  assert.deepEqual(seen('client', a.pod, 'pod'), [a.client], 'outside to a pod of this node');
  assert.deepEqual(
    seen('client', a.remotePod, 'peer', a.thirdPod),
    [a.thirdPod],
    'remote pod to remote pod, routed',
  );
  assert.deepEqual(
    seen('client', a.pod, 'pod', a.thirdPod),
    [a.thirdPod],
    'remote pod to a pod of this node',
  );
  assert.deepEqual(
    seen('client', a.outside, 'peer'),
    [a.client],
    'traffic outside the pod network is left alone',
  );
}
