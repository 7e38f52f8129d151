import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Module, readModules } from './modules.ts';

// The rooms of src/, and the rooms and files each may import. A room is a folder with everything in it,
// except for subfolders that are listed here as rooms themselves. Every folder must be in a room. Files at
// the root of src/, such as `error.ts`, are open to all, and `async` to every room that does I/O.
const MAY_IMPORT: Readonly<Record<string, string>> = {
  async: '',
  ip: '',
  linux: 'ip linux/nftables/values',
  'linux/nftables/values': 'ip',
  firewall: 'cluster firewall/rules ip linux state wiring',
  'firewall/rules': 'ip linux',
  cluster: 'ip',
  ipam: 'cluster ip store/ports',
  // From outside, the store is its ports; `open.ts` creates one.
  store: 'cluster ip kubernetes/access/open.ts kubernetes/api/object.ts store',
  'store/ports': 'cluster ip policy/document.ts policy/model',
  'store/kv': '',
  'store/embedded': 'store/kv',
  'store/etcd':
    'cluster ip ipam/subnets.ts policy store/flannel store/kv store/policies store/ports store/values',
  // What flannel and ours write about a node, the same in every store.
  'store/flannel': 'cluster ip',
  'store/kubernetes':
    'cluster ip kubernetes policy/calico policy/collect.ts policy/kinds.ts policy/kubernetes policy/model store/flannel store/kubernetes/node store/policies store/ports store/values',
  // Views of network policies, made alike of every store's tables.
  'store/policies': 'cluster ip policy store/ports',
  // What is stored about blocks, the same in every store.
  'store/values': 'cluster ip policy/model store/ports',
  // A store's contents as a file, out of one store and into another.
  transfer: 'cluster ip ipam/blocks store/ports store/values',
  'store/kubernetes/node': 'cluster ip kubernetes/api/object.ts store/flannel',
  // The Kubernetes API; knows nothing of pod networks.
  kubernetes: 'cluster/fields.ts cluster/yaml.ts',
  state: 'ip linux state',
  'state/kinds':
    'ip linux state/forwarding.ts state/kind.ts state/link-types state/ownership.ts state/protocols',
  'state/link-types': 'ip linux state/forwarding.ts state/kind.ts state/protocols',
  'state/protocols': 'linux state/kind.ts',
  'state/executors':
    'ip linux state/devices.ts state/item.ts state/kind.ts state/kinds state/ownership.ts state/protocols',
  backends: 'cluster ip state',
  wiring: 'cluster ip linux/nftables/values state',
  masquerade: 'cluster ip linux/nftables/values state',
  guard: 'cluster ip linux/nftables/values state wiring',
  bandwidth: 'cluster ip state',
  'host-ports': 'cluster ip linux/nftables/values state wiring',
  // Leases of addresses from other people's servers.
  dhcp: 'cluster dhcp/protocol ip linux',
  'dhcp/protocol': 'cluster/lawful.ts ip',
  // The self-test of the ways to peers.
  probe: 'backends cluster desired ip linux wiring',
  // What is wrong with a node, with or without its agent.
  doctor:
    'agent backends cluster cni/protocol desired firewall ip linux policy/names/table.ts probe state/ownership.ts store/open.ts store/view-file.ts wiring',
  // Network policies: what they are, how they are read, what the kernel holds for them, and why.
  'policy/model': 'cluster ip',
  // Reads them all together.
  policy: 'cluster ip policy/calico policy/kubernetes policy/model',
  'policy/kubernetes': 'cluster ip policy/model',
  'policy/calico': 'cluster ip policy/kubernetes policy/model',
  'policy/compile': 'cluster ip linux/nftables/values policy/model state',
  'policy/explain': 'cluster ip policy/model',
  // What they have done, by names.
  'policy/observe': 'cluster ip policy/compile policy/explain policy/model policy/names state',
  // What domain names stand for, from the answers of trusted resolvers.
  'policy/names': 'cluster ip linux/nftables/values policy/model state',
  // What a change means for connections that are there.
  'policy/flows': 'ip linux/nftables/values policy/compile policy/model state',
  'policy/node': 'cluster ip policy/compile policy/flows policy/model policy/names state',
  desired:
    'backends bandwidth cluster guard host-ports ip masquerade policy/flows policy/model policy/node state wiring',
  companions:
    'backends cluster companions/aws-vpc companions/bird companions/cloud companions/extension companions/gce companions/udp ip ipam linux state',
  'companions/bird': 'backends cluster companions/bird companions/companion.ts ip ipam linux state',
  'companions/bird/configuration': 'backends cluster ip',
  'companions/bird/daemon': 'companions/bird/configuration/text.ts companions/bird/status linux',
  'companions/bird/status':
    'companions/bird/configuration companions/bird/daemon/reply.ts companions/companion.ts ip',
  'companions/aws-vpc': 'backends cluster companions/cloud ip',
  'companions/cloud': 'cluster companions/companion.ts ip ipam/subnets.ts',
  'companions/extension': 'backends cluster companions/companion.ts ip',
  'companions/gce': 'cluster companions/cloud ip',
  'companions/udp':
    'backends cluster companions/companion.ts companions/udp/orders.ts companions/udp/settings.ts ip linux state/ownership.ts',
  'companions/udp/packets': 'ip',
  'companions/udp/forwarder': 'companions/udp ip linux',
  trace: 'cluster ip linux/encapsulation.ts state',
  cni: 'cluster cni dhcp/leases.ts ip ipam linux',
  'cni/protocol': 'cluster cni/shim/agent-file.ts ip ipam',
  'cni/capabilities': 'cluster cni/protocol ip',
  'cni/records': 'cluster cni/context.ts cni/protocol ip',
  'cni/addresses': 'cluster cni/context.ts cni/protocol cni/records cni/state.ts ip ipam linux/netns.ts',
  // ADD first creates what the agent then maintains on a routed pod's device.
  'cni/wiring':
    'cluster cni/addresses cni/capabilities cni/context.ts cni/protocol cni/records cni/state.ts ip ipam linux state/ownership.ts wiring/pod-device.ts wiring/shim.ts',
  'cni/verbs':
    'cluster cni/addresses cni/capabilities cni/context.ts cni/protocol cni/records cni/state.ts cni/wiring bandwidth host-ports ip ipam linux state/ownership.ts wiring/pod-device.ts',
  'cni/shim': 'cni/protocol cni/records/noted-del.ts',
  agent:
    'agent backends cluster cni companions desired dhcp firewall ip ipam linux/lock.ts linux/netns.ts linux/proc-sys.ts linux/sys.ts policy/explain policy/model policy/node probe state store/open.ts store/ports store/view-file.ts wiring',
  'agent/api': 'companions/companion.ts',
  'agent/policy':
    'cluster ip linux policy/compile/ends.ts policy/compile/staged/compile.ts policy/explain policy/flows policy/model policy/names policy/node policy/observe state',
  'agent/flows': 'cluster host-ports ip linux policy/compile policy/flows policy/model policy/node state',
  'agent/underlay': 'cluster ip linux state',
  takeover: '',
  // What a takeover means for what was found on a node.
  'takeover/flannel': 'cluster ip linux/nftables/values takeover/plan.ts',
  'takeover/calico': 'cluster ip policy/calico policy/collect.ts policy/model takeover/plan.ts',
  'takeover/node': 'cluster cni firewall ip ipam kubernetes linux state/ownership.ts takeover',
  runtime: 'cluster cni ip linux',
  lab: 'agent backends cluster companions ip ipam lab linux',
  'lab/record': 'agent cluster linux',
  'lab/machine':
    'agent backends cluster companions desired/tunnel-types.ts ip lab/record linux state/link-types store/open.ts store/ports cni/shim',
  'lab/bgp': 'agent cluster companions desired/tunnel-types.ts ip lab/machine lab/record linux',
  'lab/pods':
    'cluster cni ip lab/machine lab/record linux policy/check.ts policy/document.ts policy/model runtime store/policies store/ports',
  'lab/inspect': 'agent cluster companions ip ipam lab/bgp lab/machine lab/pods lab/record linux store/ports',
  cli: 'agent backends cli cni/protocol/conflist.ts cni/shim/install.ts cluster companions doctor ip ipam lab linux/netns.ts policy/document.ts runtime store/embedded store/open.ts store/policies store/ports takeover transfer',
  'cli/policy': 'agent/policy cli/shared cluster ip linux/nftables/values policy wiring',
  'cli/kubectl': 'cli/shared kubernetes store/published-node.ts',
  'cli/shared':
    'agent backends cluster ip ipam lab policy store/open.ts store/policies store/ports takeover/plan.ts',
};

// Rooms and files of pure computation: no I/O of any kind, not even a type import that leads to it, directly
// or indirectly.
const PURE = [
  'ip',
  'cluster',
  'backends',
  'wiring',
  'bandwidth',
  'guard',
  'host-ports',
  'masquerade',
  'policy',
  'desired',
  'trace',
  'state/kinds',
  'state/link-types',
  'state/protocols',
  'state/contributions.ts',
  'state/diff.ts',
  'state/order.ts',
  'state/print.ts',
  'companions/bird/configuration',
  'companions/udp/packets',
  'linux/nftables/values',
  'firewall/rules',
  'firewall/facts.ts',
  'firewall/problems.ts',
  'store/flannel',
  'store/kubernetes/node',
  'store/values',
  'takeover/plan.ts',
  'takeover/flannel',
  'takeover/calico',
  'probe/judge.ts',
  'probe/rounds.ts',
  'probe/target.ts',
  'doctor/sysctls.ts',
];

const MODULES = readModules('src/**/*.ts');

test('the test reads imports and exports', () => {
  const cidr = MODULES.find(({ path }) => path === 'src/ip/cidr.ts');
  const names = cidr?.imports.find(({ target }) => target === 'src/ip/address.ts')?.names;
  assert.ok(names?.includes('Ip'));
  assert.ok(cidr?.exports.includes('Cidr') && cidr.exports.includes('parseCidr'));
});

/** The innermost room of a file; empty for files at the root of src/. */
function roomOf(path: string): string | undefined {
  const folders = path.split('/').slice(1, -1);
  for (let depth = folders.length; depth > 0; depth--) {
    const room = folders.slice(0, depth).join('/');
    if (room in MAY_IMPORT) return room;
  }
  return folders.length === 0 ? '' : undefined;
}

function isIn(path: string, place: string): boolean {
  return path === `src/${place}` || path.startsWith(`src/${place}/`);
}

function isPure(path: string): boolean {
  return PURE.some((place) => isIn(path, place));
}

test('every folder of src/ is in a room', () => {
  const homeless = MODULES.filter(({ path }) => roomOf(path) === undefined).map(({ path }) => path);
  assert.deepEqual(homeless, []);
});

test('every import is allowed', () => {
  const wrong: string[] = [];
  for (const { path, imports } of MODULES) {
    const room = roomOf(path) ?? '';
    const allowed = (MAY_IMPORT[room] ?? '').split(' ').filter(Boolean);
    if (!isPure(path)) allowed.push('async');
    for (const { target } of imports) {
      if (!target.startsWith('src/')) continue;
      const to = roomOf(target);
      if (to === '' || to === room || allowed.some((place) => isIn(target, place))) continue;
      wrong.push(`${path} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('there are no import cycles, not even for types', () => {
  assert.deepEqual(cycles(MODULES), []);
});

/** Finds import cycles, by Tarjan's algorithm. */
function cycles(modules: readonly Module[]): string[][] {
  const imports = new Map(modules.map((each) => [each.path, each.imports.map(({ target }) => target)]));
  const order = new Map<string, number>();
  const open: string[] = [];
  const found: string[][] = [];
  /** Returns the number of the earliest open file reachable from this one. */
  const visit = (path: string): number => {
    const own = order.size;
    order.set(path, own);
    open.push(path);
    let earliest = own;
    for (const target of imports.get(path) ?? []) {
      if (!imports.has(target)) continue;
      const seen = order.get(target);
      if (seen === undefined) earliest = Math.min(earliest, visit(target));
      else if (open.includes(target)) earliest = Math.min(earliest, seen);
    }
    if (earliest === own) {
      const cycle = open.splice(open.indexOf(path));
      if (cycle.length > 1) found.push(cycle.sort());
    }
    return earliest;
  };
  for (const path of imports.keys()) if (!order.has(path)) visit(path);
  return found;
}

test('pure files never reach I/O', () => {
  const imports = new Map(MODULES.map((each) => [each.path, each.imports.map(({ target }) => target)]));
  // The codecs of linux/ are pure too: they encode and decode messages without a socket.
  const impure = (path: string): boolean =>
    path.startsWith('node:') || path === 'koffi' || path.startsWith('src/async/');
  const isDigest = (trail: readonly string[]): boolean =>
    trail.join(' → ').endsWith('src/policy/model/text.ts → node:crypto');
  const wrong: string[] = [];
  const seen = new Set<string>();
  const follow = (path: string, trail: readonly string[]): void => {
    const here = [...trail, path];
    if (seen.has(path) || isDigest(here)) return;
    seen.add(path);
    if (impure(path)) wrong.push(here.join(' → '));
    else for (const target of imports.get(path) ?? []) follow(target, here);
  };
  const pure = MODULES.map(({ path }) => path).filter(isPure);
  assert.ok(pure.includes('src/desired/desired.ts'));
  for (const path of pure) follow(path, []);
  assert.deepEqual(wrong, []);
});

// Rooms that only their owner may import.
const INNER: Readonly<Record<string, string>> = {
  'store/kv': 'store',
  'store/etcd': 'store',
  'store/flannel': 'store',
  'store/kubernetes': 'store',
  'state/executors': 'state',
};

test('inner rooms are imported only by their owner', () => {
  const wrong: string[] = [];
  for (const { path, imports } of MODULES) {
    for (const { target } of imports) {
      for (const [room, owner] of Object.entries(INNER)) {
        if (isIn(target, room) && !isIn(path, owner)) wrong.push(`${path} imports ${target}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

type Ban = { readonly what: string; readonly pattern: RegExp; readonly but: readonly string[] };

// Code allowed in one place only.
const BANNED: readonly Ban[] = [
  {
    what: 'switches over item kinds: everything about a kind is in its own file',
    pattern: /case '(?:fdb|sysctl|nft-table|nft-element)':/,
    but: [],
  },
  {
    what: 'nftables as text: tables are values',
    pattern:
      /(?:\b|\\n)(?:add|delete|destroy|flush|insert) (?:table|chain|rule|set|map|element) |table (?:ip|ip6|inet) /,
    but: ['linux/nftables/values/render.ts', 'state/kinds/nft-table.ts', 'firewall/problems.ts'],
  },
  {
    what: 'ad-hoc queues: see async/queue.ts and async/latest.ts',
    pattern: /#\w+: Promise<\w+> = Promise\.resolve\(\)/,
    but: ['async', 'linux/netlink/socket.ts'],
  },
  {
    what: 'waiting: see async/pause.ts and async/poll.ts',
    pattern: /from 'node:timers\/promises'/,
    but: [],
  },
];

for (const { what, pattern, but } of BANNED) {
  test(`nowhere else: ${what}`, () => {
    const found = MODULES.filter(({ text }) => pattern.test(text)).map(({ path }) => path);
    assert.deepEqual(
      found.filter((path) => !but.some((place) => isIn(path, place))),
      [],
    );
    const needless = but.filter((place) => !found.some((path) => isIn(path, place)));
    assert.deepEqual(needless, [], 'exceptions that are no longer needed');
  });
}

// Tests use it to verify the backends in generated clusters, and tracing will be built on it.
const FOR_TESTS = ['src/trace/fib.ts'];

test('every export is used in src/, not only by tests', () => {
  const taken = new Map<string, Set<string>>();
  for (const { imports } of MODULES) {
    for (const { target, names } of imports) {
      taken.set(target, new Set([...(taken.get(target) ?? []), ...names]));
    }
  }
  const unused: string[] = [];
  for (const { path, text, exports } of MODULES) {
    const others = taken.get(path) ?? new Set();
    if (FOR_TESTS.includes(path) || others.has('*')) continue;
    for (const name of exports) {
      const mentions = [...text.matchAll(new RegExp(`\\b${name}\\b`, 'g'))].length;
      if (!others.has(name) && mentions < 2) unused.push(`${path}: ${name}`);
    }
  }
  assert.deepEqual(unused, []);
});

test('comments stay within the formatter’s line width', () => {
  const long: string[] = [];
  for (const path of globSync(['src/**/*.ts', 'test/**/*.ts', 'bench/**/*.ts'])) {
    for (const [i, line] of readFileSync(path, 'utf8').split('\n').entries()) {
      if (line.length > 110 && /^\s*(\/\*\*|\*|\/\/)/.test(line)) long.push(`${path}:${i + 1}`);
    }
  }
  assert.deepEqual(long, []);
});
