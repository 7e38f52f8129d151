import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { withNetns } from '../../../src/linux/netns.ts';
import { applyRuleset } from '../../../src/linux/nftables/ruleset.ts';
import { cutOffWithoutFlannel, readRules, removeRules } from '../../../src/takeover/node/flannel-rules.ts';
import { kernelTest, sandbox } from '../../linux/sandbox.ts';

const MAPPED = { network: 'cbr0', containerId: 'web' };
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
  chain CNI-HOSTPORT-DNAT {
    tcp dport 8080 jump ${OURS}
    tcp dport 9090 jump ${OTHERS}
  }
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

/** Runs in the namespace: sockets open before the first wait. */
function inside<T>(netns: string, run: () => Promise<T>): Promise<T> {
  return withNetns(netns, () => ({ promise: run() })).promise;
}

kernelTest('flannel’s rules go with all that leads there, and nobody else’s', async (t) => {
  const { netns, run } = sandbox(t);
  await applyRuleset(RULES, { netns });

  const found = await inside(netns, () => readRules([MAPPED]));
  assert.deepEqual(
    found.map(({ family, table, chains, leads }) => [family, table, chains?.toSorted(), leads]),
    [
      ['ip', 'nat', [OURS, 'FLANNEL-POSTRTG'].toSorted(), 3],
      ['ip', 'filter', ['FLANNEL-FWD'], 1],
      ['ip6', 'flannel-ipv6', undefined, 0],
    ],
  );
  const outDevice = { 4: 'flannel.1' };
  const facts = { networks: [parseCidr('10.244.0.0/16')], podDevice: 'cni0', outDevice };
  const [reason] = await inside(netns, () => cutOffWithoutFlannel(facts));
  assert.match(reason ?? '', /^nft chain ip filter FORWARD drops 10\.244\.0\.0\/16; iptables -I FORWARD/);

  for (const rules of found) await inside(netns, () => removeRules(rules));
  assert.deepEqual(await inside(netns, () => readRules([MAPPED])), []);
  const left = run('nft', 'list', 'ruleset');
  assert.match(left, /ip saddr 172\.17\.0\.0\/16 masquerade/);
  assert.match(left, new RegExp(`tcp dport 9090 jump ${OTHERS}`));
  assert.match(left, /table ip mine/);
  assert.doesNotMatch(left, /FLANNEL-|8080|flannel-ipv6/);
});
