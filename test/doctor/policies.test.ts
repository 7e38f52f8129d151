import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import { type PolicyFacts, policyFindings } from '../../src/doctor/policies.ts';

const NETWORK = { Network: '10.244.0.0/16', EnableIPv6: true, IPv6Network: 'fd00:244::/56' };

const WELL: Readonly<Record<string, string>> = {
  'net/bridge/bridge-nf-call-iptables': '1',
  'net/bridge/bridge-nf-call-ip6tables': '1',
  'net/netfilter/nf_conntrack_max': '262144',
  'net/netfilter/nf_conntrack_count': '1000',
  'net/ipv4/vs/conntrack': '1',
};

/** As the kernel writes it. */
const IPVS = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr
  -> C0000209:192B      Masq    1      0          0
UDP  0A60000A:0035 rr
`;

function examine(
  changes: Readonly<Record<string, string | undefined>> = {},
  facts: Partial<PolicyFacts> = {},
): readonly string[] {
  const values: Readonly<Record<string, string | undefined>> = { ...WELL, ...changes };
  const network = readNetwork({ ...NETWORK, policy: true });
  const all = policyFindings({
    network,
    read: (path) => values[path],
    ipvs: undefined,
    handovers: [],
    ...facts,
  });
  assert.ok(all.every(({ section }) => section === 'policy'));
  return all.filter(({ state }) => state !== 'ok').map(({ state, what }) => `${state}: ${what}`);
}

test('nothing is said of policies that are not to be enforced', () => {
  assert.deepEqual(
    examine({ 'net/bridge/bridge-nf-call-iptables': '0' }, { network: readNetwork(NETWORK) }),
    [],
  );
  assert.deepEqual(examine({}, { network: undefined }), []);
});

test('a node where nothing passes by', () => {
  assert.deepEqual(examine(), []);
  assert.deepEqual(examine({}, { ipvs: IPVS }), []);
  assert.deepEqual(examine({ 'net/ipv4/vs/conntrack': '0' }), [], 'without services, IPVS does nothing');
});

test('what can be read is told where the kernel’s tables cannot', () => {
  const found = examine(
    { 'net/bridge/bridge-nf-call-iptables': '0' },
    { handovers: { unread: 'not permitted' } },
  );
  assert.equal(found.length, 2);
  assert.match(found[0] ?? '', /^wrong: net\.bridge\.bridge-nf-call-iptables is 0/);
  assert.equal(found[1], 'note: flowtables are not checked: not permitted');
});

test('bridged packets that pass no chain', () => {
  assert.match(
    examine({ 'net/bridge/bridge-nf-call-ip6tables': '0' })[0] ?? '',
    /^wrong: net\.bridge\.bridge-nf-call-ip6tables is 0: .* passes by/,
  );
  assert.match(examine({ 'net/bridge/bridge-nf-call-iptables': undefined })[0] ?? '', /^wrong: .* is absent/);
  const network = readNetwork({ ...NETWORK, wiring: 'routed', policy: true });
  assert.deepEqual(examine({ 'net/bridge/bridge-nf-call-iptables': undefined }, { network }), []);
});

test('connections that are not tracked, or soon will not be', () => {
  assert.match(
    examine({ 'net/netfilter/nf_conntrack_count': '262100' })[0] ?? '',
    /^wrong: 262100 of at most 262144/,
  );
  assert.match(
    examine({ 'net/netfilter/nf_conntrack_max': undefined })[0] ?? '',
    /^note: this kernel tracks no connections yet/,
  );
  assert.deepEqual(examine({ 'net/netfilter/nf_conntrack_max': '0' }), [], '0 is no limit');
  assert.match(
    examine({ 'net/ipv4/vs/conntrack': '0' }, { ipvs: IPVS })[0] ?? '',
    /^wrong: IPVS leads 2 services to pods, but net\.ipv4\.vs\.conntrack is 0/,
  );
});

test('flowtables of others with devices of pods', () => {
  const handover = (table: string, ...devices: string[]) => ({
    table: { family: 'inet' as const, table },
    name: 'ft',
    devices,
  });
  const found = examine(
    {},
    {
      handovers: [
        handover('theirs', 'eth0', 'cali123'),
        handover('bridge', 'cni0'),
        handover('other', 'eth0'),
        handover('flatnet-policy', 'cali123'),
      ],
    },
  );
  assert.deepEqual(found, [
    'note: flowtable ft of table inet theirs takes established connections of pods',
    'note: flowtable ft of table inet bridge takes established connections of pods',
  ]);
});
