import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { ForwardFacts } from '../../../src/firewall/facts.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { withNetns } from '../../../src/linux/netns.ts';
import { applyRuleset } from '../../../src/linux/nftables/ruleset.ts';
import { whyNeeded } from '../../../src/takeover/node/cut-off.ts';
import { readRules, removeRules } from '../../../src/takeover/node/flannel-rules.ts';
import { kernelTest, sandbox } from '../../linux/sandbox.ts';

const OTHERS = `CNI-DN-${createHash('sha512').update('podman').digest('hex')}`.slice(0, 28);
const OURS = `CNI-DN-${createHash('sha512').update('cbr0web').digest('hex')}`.slice(0, 28);

/** As iptables-nft makes them for flanneld and portmap, beside other programs' rules. */
const RULES = `
table ip nat {
  chain FLANNEL-POSTRTG {
    ip saddr 10.244.1.0/24 ip daddr 10.244.0.0/16 return
    ip saddr 10.244.0.0/16 masquerade
  }
  chain ${OURS} { tcp dport 8080 dnat to 10.244.1.5:80; }
  chain ${OTHERS} { tcp dport 9090 dnat to 10.88.0.5:80; }
  chain CNI-HOSTPORT-DNAT { }
  chain PREROUTING { type nat hook prerouting priority -100; fib daddr type local jump CNI-HOSTPORT-DNAT; }
  chain POSTROUTING {
    type nat hook postrouting priority 100
    ip saddr 172.17.0.0/16 masquerade
    jump FLANNEL-POSTRTG
    counter jump FLANNEL-POSTRTG
  }
}
table ip filter {
  chain FLANNEL-FWD { ip saddr 10.244.0.0/16 accept; ip daddr 10.244.0.0/16 accept; }
  chain FORWARD { type filter hook forward priority 0; policy drop; jump FLANNEL-FWD; }
}
table ip6 flannel-ipv6 { chain postrtg { type nat hook postrouting priority 100; }; }
table ip mine { chain FLANNEL { accept; }; }
`;

/** As portmap has iptables lead to the chain of an attachment. */
function lead(network: string, container: string, port: number, chain: string): string[] {
  const comment = `dnat name: "${network}" id: "${container}"`;
  const match = [
    '-p',
    'tcp',
    '-m',
    'comment',
    '--comment',
    comment,
    '-m',
    'multiport',
    '--dports',
    `${port}`,
  ];
  return ['iptables-nft', '-t', 'nat', '-A', 'CNI-HOSTPORT-DNAT', ...match, '-j', chain];
}

const ACCEPT = 'ip saddr 10.244.0.0/16 accept; ip daddr 10.244.0.0/16 accept;';
const NETWORK = parseCidr('10.244.0.0/16');
const FACTS: ForwardFacts = { networks: [NETWORK], podDevice: 'cni0', outDevice: { 4: 'eth0' } };

/** Runs in the namespace: sockets open before the first wait. */
function inside<T>(netns: string, run: () => Promise<T>): Promise<T> {
  return withNetns(netns, () => ({ promise: run() })).promise;
}

kernelTest('flannel’s rules go with all that leads there, and nobody else’s', async (t) => {
  const { netns, run } = sandbox(t);
  await applyRuleset(RULES, { netns });

  const leads = [
    lead('cbr0', 'web', 8080, OURS),
    lead('podman', '', 9090, OTHERS),
    // A comment alone proves nothing.
    lead('cbr0', 'web', 9091, OTHERS),
  ];
  for (const argv of leads) run(...(argv as [string, ...string[]]));

  const found = await inside(netns, () => readRules(['cbr0']));
  assert.deepEqual(
    found.map(({ family, table, chains, leads, size, container }) => [
      [family, table, chains?.toSorted()],
      [leads, size, container],
    ]),
    [
      [
        ['ip', 'nat', ['FLANNEL-POSTRTG']],
        [2, 2, undefined],
      ],
      [
        ['ip', 'nat', [OURS]],
        [1, 1, 'web'],
      ],
      [
        ['ip', 'filter', ['FLANNEL-FWD']],
        [1, 2, undefined],
      ],
      [
        ['ip6', 'flannel-ipv6', undefined],
        [0, 0, undefined],
      ],
    ],
  );

  for (const rules of found) await inside(netns, () => removeRules(rules));
  assert.deepEqual(await inside(netns, () => readRules(['cbr0'])), []);
  const left = run('nft', 'list', 'ruleset');
  assert.match(left, /ip saddr 172\.17\.0\.0\/16 masquerade/);
  assert.match(left, new RegExp(`jump ${OTHERS}`));
  assert.match(left, /table ip mine/);
  assert.doesNotMatch(left, /FLANNEL-|8080|flannel-ipv6/);
});

const FORWARD = { family: 'ip', table: 'filter', chains: ['FLANNEL-FWD'], leads: 1, size: 2 } as const;
const DROPS = /^nft chain ip filter FORWARD drops 10\.244\.0\.0\/16; iptables -I FORWARD/;
const MAY_DROP = /^nft chain ip filter FORWARD may drop 10\.244\.0\.0\/16; iptables -I FORWARD/;
const FIREWALLS: readonly (readonly [what: string, policy: string, rules: string, RegExp | undefined])[] = [
  ['drops the rest', 'drop', 'jump FLANNEL-FWD', DROPS],
  ['rejects the rest', 'accept', 'jump FLANNEL-FWD; reject', DROPS],
  ['accepts the rest', 'accept', 'jump FLANNEL-FWD', undefined],
  [
    'accepts the pods before',
    'drop',
    'ip saddr 10.244.0.0/16 accept; ip daddr 10.244.0.0/16 accept; jump FLANNEL-FWD',
    undefined,
  ],
  ['drops the rest on unknown conditions', 'accept', 'jump FLANNEL-FWD; meta length > 1000 drop', MAY_DROP],
  [
    'accepts the rest on unknown conditions',
    'drop',
    'jump FLANNEL-FWD; limit rate 1/second accept',
    MAY_DROP,
  ],
  ['drops on unknown conditions before', 'accept', 'meta length > 1000 drop; jump FLANNEL-FWD', undefined],
  ['does not lead to the chain', 'drop', '', undefined],
];

for (const [what, policy, rules, expected] of FIREWALLS) {
  kernelTest(`flannel’s chain at a firewall that ${what}`, async (t) => {
    const { netns } = sandbox(t);
    const chain = `type filter hook forward priority 0; policy ${policy}; ${rules}${rules && ';'}`;
    await applyRuleset(`table ip filter { chain FLANNEL-FWD { ${ACCEPT} }; chain FORWARD { ${chain} }; }`, {
      netns,
    });
    const reason = await inside(netns, () => whyNeeded(FORWARD, FACTS));
    if (expected) assert.match(reason ?? '', expected);
    else assert.equal(reason, undefined);
  });
}

kernelTest('flannel’s chain stays while it is not known which packets it lets through', async (t) => {
  const { netns } = sandbox(t);
  const needed = (facts: Partial<ForwardFacts>) =>
    inside(netns, () => whyNeeded(FORWARD, { ...FACTS, ...facts }));
  assert.match((await needed({ networks: [] })) ?? '', /networks .* not known/);
  assert.match((await needed({ networks: [parseCidr('fd00::/48')] })) ?? '', /networks .* not known/);
  assert.match((await needed({ outDevice: {} })) ?? '', /device .* not known/);
});
