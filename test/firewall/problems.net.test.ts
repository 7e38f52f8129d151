import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import type { TestContext } from 'node:test';
import type { ForwardFacts } from '../../src/firewall/facts.ts';
import { forwardProblems } from '../../src/firewall/problems.ts';
import { readRuleset } from '../../src/firewall/read.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { withNetns } from '../../src/linux/netns.ts';
import { applyRuleset } from '../../src/linux/nftables/ruleset.ts';
import { problemText } from '../../src/problem.ts';
import { kernelTest, type Sandbox, sandbox } from '../linux/sandbox.ts';

// A node that forwards, a pod on its `cali…`, another node behind its `eth0`; our report on a ruleset must
// match what the kernel does.

const POD = 'cali00000000000';
const NETWORK = '10.99.0.0/20';
const NETWORK6 = 'fd99::/64';
const POD_ADDRESS = ['10.99.0.1', 'fd99::1'] as const;
const FAR_ADDRESS = ['10.99.15.1', 'fd99::f:1'] as const;
const PORT = 4711;
/** Seconds. */
const DROPPED_AFTER = 0.3;

const FACTS: ForwardFacts = {
  networks: [parseCidr(NETWORK), parseCidr(NETWORK6)],
  podDevice: POD,
  outDevice: { 4: 'eth0', 6: 'eth0' },
};

const table = (family: string, chains: string) => `table ${family} fw {\n${chains}\n}\n`;
const through = (policy: string, rules: string) =>
  `chain through {\ntype filter hook forward priority 0; policy ${policy};\n${rules}\n}\n`;
const drop = (rules: string, family = 'inet') => table(family, through('drop', rules));
const accept = (rules: string, family = 'inet') => table(family, through('accept', rules));
const CUT = { 4: 'dropped', 6: 'dropped' } as const;
const DOUBTFUL = { 4: 'doubtful', 6: 'doubtful' } as const;
const OPEN = { 4: 'open', 6: 'open' } as const;

type Case = {
  readonly what: string;
  readonly rules: string;
  /** `doubtful`: open or not, we report nothing. */
  readonly is: Readonly<Record<4 | 6, 'open' | 'dropped' | 'doubtful'>>;
};

const CASES: readonly Case[] = [
  { what: 'no rules at all', rules: '', is: OPEN },
  { what: 'policy accept', rules: accept(''), is: OPEN },
  { what: 'policy drop', rules: drop(''), is: CUT },
  { what: 'policy drop of one family', rules: drop('', 'ip'), is: { 4: 'dropped', 6: 'open' } },
  { what: 'policy drop of the other family', rules: drop('', 'ip6'), is: { 4: 'open', 6: 'dropped' } },
  { what: 'answers only', rules: drop('ct state established,related accept'), is: CUT },
  { what: 'answers only, as a set', rules: drop('ct state { established, related } accept'), is: CUT },
  {
    what: 'another network',
    rules: drop('ip saddr 10.98.0.0/20 accept; ip6 saddr fd98::/64 accept'),
    is: CUT,
  },
  { what: 'UDP only', rules: drop('meta l4proto udp accept'), is: CUT },
  { what: 'what Docker needs', rules: drop('oifname "docker0" accept; iifname "docker0" accept'), is: CUT },
  {
    what: 'both directions by address',
    rules: drop(
      `ct state established,related accept; ip saddr ${NETWORK} accept; ip daddr ${NETWORK} accept;
       ip6 saddr ${NETWORK6} counter accept; ip6 daddr ${NETWORK6} accept`,
    ),
    is: OPEN,
  },
  {
    what: 'one family by address',
    rules: drop(`ip saddr ${NETWORK} accept`),
    is: { 4: 'open', 6: 'dropped' },
  },
  {
    what: 'only a part of the network',
    rules: drop('ip saddr 10.99.0.0/30 ip daddr 10.99.0.0/24 accept'),
    is: CUT,
  },
  {
    what: 'by device, in a separate chain',
    rules: table(
      'inet',
      `chain pods {\niifname "cali*" accept; oifname "cali*" accept\n}\n${through('drop', 'counter; jump pods')}`,
    ),
    is: OPEN,
  },
  {
    what: 'a chain that returns',
    rules: table('inet', `chain user {\niifname "cali*" return; accept\n}\n${through('drop', 'jump user')}`),
    // Accepted from the other node, but not from the pod.
    is: CUT,
  },
  {
    what: 'sets',
    rules: table(
      'inet',
      `set pods {\ntype ipv4_addr; flags interval; elements = { ${NETWORK} }\n}
       set doors {\ntype ifname; elements = { "eth1", "eth2" }\n}
       ${through('drop', 'iifname @doors accept; ip saddr @pods accept; ip daddr != @pods drop')}`,
    ),
    is: { 4: 'open', 6: 'dropped' },
  },
  {
    what: 'a concatenation',
    rules: drop(`iifname . ip saddr { "eth9" . ${POD_ADDRESS[0]} } accept`),
    is: CUT,
  },
  {
    what: 'a reject at the end',
    rules: accept('ct state established accept; reject with icmpx admin-prohibited'),
    is: CUT,
  },
  { what: 'a mark that no rule sets', rules: drop('meta mark & 0x4000 == 0x4000 accept'), is: CUT },
  {
    what: 'a mark set by an earlier rule',
    rules: drop('meta mark set 0x4000; meta mark & 0x4000 == 0x4000 accept'),
    is: DOUBTFUL,
  },
  {
    what: 'a mark that only other packets get',
    rules: drop('iifname "tailscale0" meta mark set 0x4; meta mark 0x4 accept'),
    is: CUT,
  },
  {
    what: 'a mark set by an earlier chain, for one family',
    rules: `table ip mangle {\nchain first {\ntype filter hook prerouting priority -150;\nmeta mark set 7\n}\n}
      ${drop('meta mark 7 accept')}`,
    is: { 4: 'doubtful', 6: 'dropped' },
  },
  {
    what: 'a mark of the connection',
    rules: table(
      'inet',
      `chain first {\ntype filter hook prerouting priority -150;\nct mark set 7\n}
       ${through('drop', 'ct mark 7 accept')}`,
    ),
    is: DOUBTFUL,
  },
  {
    what: 'untracked connections',
    rules: table(
      'inet',
      `chain first {\ntype filter hook prerouting priority -300;\nnotrack\n}
       ${through('drop', 'ct state untracked accept')}`,
    ),
    is: DOUBTFUL,
  },
  { what: 'ports', rules: drop('tcp dport 80 accept'), is: DOUBTFUL },
  { what: 'a limit', rules: drop('limit rate 1/hour accept'), is: DOUBTFUL },
  {
    what: 'a verdict map',
    rules: table(
      'inet',
      `chain open {\naccept\n}\n${through('drop', `iifname vmap { "${POD}" : jump open }`)}`,
    ),
    is: DOUBTFUL,
  },
  {
    what: 'a dormant table',
    rules: table('inet', `flags dormant;\n${through('drop', '')}`),
    is: OPEN,
  },
  {
    what: 'one chain accepts, a later one drops',
    rules: `${accept('accept')}table ip late {\n${through('drop', '')}}\n`,
    is: { 4: 'dropped', 6: 'open' },
  },
];

function routers(t: TestContext): { node: Sandbox; pod: Sandbox; far: Sandbox } {
  const [node, pod, far] = [sandbox(t), sandbox(t), sandbox(t)];
  const legs = [
    { box: pod, dev: POD, own: POD_ADDRESS, gateway: ['10.99.0.2', 'fd99::2'] },
    { box: far, dev: 'eth0', own: FAR_ADDRESS, gateway: ['10.99.15.2', 'fd99::f:2'] },
  ];
  for (const { box, dev, own, gateway } of legs) {
    node.run('ip', 'link', 'add', dev, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', box.name);
    for (const [i, more] of [['30'], ['112', 'nodad']].entries()) {
      const [length, ...flags] = more;
      node.run('ip', 'address', 'add', `${gateway[i]}/${length}`, 'dev', dev, ...flags);
      box.run('ip', 'address', 'add', `${own[i]}/${length}`, 'dev', 'eth0', ...flags);
    }
    node.run('ip', 'link', 'set', dev, 'up');
    box.run('ip', 'link', 'set', 'eth0', 'up');
    for (const each of gateway) box.run('ip', 'route', 'add', 'default', 'via', each);
  }
  node.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  return { node, pod, far };
}

async function serve(t: TestContext, box: Sandbox): Promise<void> {
  const server = withNetns(box.netns, () => net.createServer((socket) => socket.destroy()).listen(PORT));
  t.after(() => server.close());
  if (!server.listening) await once(server, 'listening');
}

/** Whether a connection succeeds within so many seconds. */
async function connects(box: Sandbox, host: string, within: number): Promise<boolean> {
  const command = ['bash', '-c', `exec 3<>/dev/tcp/${host}/${PORT}`];
  const { child } = withNetns(box.netns, () => ({
    child: spawn('timeout', [`${within}`, ...command], { stdio: 'ignore' }),
  }));
  await once(child, 'close');
  return child.exitCode === 0;
}

for (const [part, cases] of [
  ['first half', CASES.slice(0, 12)],
  ['second half', CASES.slice(12)],
] as const) {
  kernelTest(`our report on a ruleset matches its effect on pods’ packets, ${part}`, async (t) => {
    const { node, pod, far } = routers(t);
    await serve(t, pod);
    await serve(t, far);
    using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns: node.netns });
    for (const { what, rules, is } of cases) {
      await applyRuleset(`flush ruleset\n${rules}\n`, { netns: node.netns });
      const problems = await forwardProblems(readRuleset(socket), FACTS);
      const check = async (family: 4 | 6): Promise<void> => {
        const i = family === 4 ? 0 : 1;
        const network = family === 4 ? NETWORK : NETWORK6;
        const said = problems.filter(({ cause }) => cause?.includes(`drops ${network}`));
        const wanted = is[family] === 'dropped' ? 1 : 0;
        assert.equal(said.length, wanted, `${what}, IPv${family}: ${problems.map(problemText).join('; ')}`);
        if (is[family] === 'doubtful') return;
        const within = is[family] === 'dropped' ? DROPPED_AFTER : 20;
        const [out, back] = await Promise.all([
          connects(pod, FAR_ADDRESS[i], within),
          connects(far, POD_ADDRESS[i], within),
        ]);
        assert.equal(
          out && back,
          is[family] === 'open',
          `${what}, IPv${family}: the kernel, ${out}, ${back}`,
        );
      };
      await Promise.all([check(4), check(6)]);
    }
  });
}

kernelTest('the suggested fix works', async (t) => {
  const { node } = routers(t);
  using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns: node.netns });
  await applyRuleset(drop(''), { netns: node.netns });
  const problems = await forwardProblems(readRuleset(socket), FACTS);
  assert.equal(problems.length, 2);
  for (const { fix = '' } of problems) {
    for (const command of fix.split('; ')) node.run(...command.split(' '));
  }
  assert.deepEqual(await forwardProblems(readRuleset(socket), FACTS), []);
});
