import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { LocalApi } from '../../src/agent/api/server.ts';
import { SILENT } from '../../src/log.ts';
import { FLATNET } from '../lab/host.ts';

const folder = mkdtempSync(join(tmpdir(), 'flatnet-policy-'));
after(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function policy(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(FLATNET, ['policy', ...args], { encoding: 'utf8' });
}

const CLUSTER = file(
  'cluster.yaml',
  `
{ kind: Namespace, metadata: { name: shop, labels: { team: a } } }
---
{ kind: Pod, metadata: { name: client, labels: { app: client } } }
---
kind: Pod
metadata: { name: web, namespace: shop, labels: { app: web } }
spec: { containers: [{ ports: [{ name: http, containerPort: 8080 }] }] }
status: { podIP: 10.0.0.7 }
---
{ kind: Deployment, metadata: { name: other } }
---
kind: NetworkPolicy
metadata: { name: web, namespace: shop }
spec:
  podSelector: { matchLabels: { app: web } }
  ingress:
  - from: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: client } } }]
    ports: [{ port: http }]
---
kind: ClusterNetworkPolicy
metadata: { name: lock }
spec:
  tier: Admin
  priority: 1
  subject: { namespaces: { matchLabels: { team: a } } }
  egress:
  - { name: nothing outside, action: Deny, to: [{ networks: [0.0.0.0/0] }] }
`,
);

test('explain: which rule, at which end, and what would change it', () => {
  const allowed = policy('explain', 'client', 'shop/web', '--port', '8080', '-f', CLUSTER);
  assert.equal(allowed.status, 0, allowed.stderr);
  assert.match(allowed.stdout, /^allowed\n/);
  assert.match(
    allowed.stdout,
    /ingress {2}shop\/web: allowed: NetworkPolicy shop\/web, ingress\[0\], allows it/,
  );
  assert.match(allowed.stdout, /namespaces all, pods app = client: pod default\/client/);

  const isolated = policy('explain', 'client', '10.0.0.7', '--port', '80', '-f', CLUSTER, '--json');
  assert.equal(isolated.status, 1);
  const { verdict, ends } = JSON.parse(isolated.stdout);
  assert.equal(verdict, 'denied');
  assert.match(
    ends[1].fix,
    /"from":\[\{"namespaceSelector":\{"matchLabels":\{"kubernetes.io\/metadata.name":"default"\}\}/,
  );

  const denied = policy('explain', 'shop/web', '192.0.2.1', '--port', '443', '-f', CLUSTER);
  assert.equal(denied.status, 1);
  assert.match(denied.stdout, /ClusterNetworkPolicy lock, egress\[0\] "nothing outside", denies it/);

  const unknown = policy('explain', 'nobody', 'shop/web', '--port', '80', '-f', CLUSTER);
  assert.equal(unknown.status, 2);
  assert.match(
    unknown.stderr,
    /nobody: is neither a pod that is known here, nor an address or a domain name; write NAMESPACE\/POD, such as default\/client/,
  );
  assert.equal(policy('explain', 'client', 'shop/web', '-f', CLUSTER).status, 2, 'a port is needed');
});

test('explain: a domain name is whoever its policies mean', () => {
  const names = file(
    'names.yaml',
    `
kind: ClusterNetworkPolicy
metadata: { name: names }
spec:
  tier: Admin
  priority: 0
  subject: { namespaces: { matchLabels: { team: a } } }
  egress:
  - { action: Accept, to: [{ domainNames: ['*.example.org'] }], protocols: [{ tcp: { destinationPort: { number: 443 } } }] }
---
kind: NetworkPolicy
metadata: { name: closed, namespace: default }
spec: { podSelector: {}, policyTypes: [Egress] }
`,
  );
  const explain = (from: string, to: string) =>
    policy('explain', from, to, '--port', '443', '-f', CLUSTER, '-f', names);
  const allowed = explain('shop/web', 'WWW.example.org');
  assert.equal(allowed.status, 0, allowed.stderr);
  assert.match(allowed.stdout, /names \*\.example\.org: www\.example\.org/);
  for (const other of ['example.org', 'www.example.com', '192.0.2.1'])
    assert.equal(explain('shop/web', other).status, 1, other);
  assert.match(
    explain('client', 'www.example.com').stdout,
    /fix: add to spec\.egress of a ClusterNetworkPolicy .*"to":\[\{"domainNames":\["www\.example\.com"\]\}\],"protocols":\[\{"tcp":/,
  );
});

test('the fix that explain proposes is one', () => {
  const before = policy('explain', 'client', 'shop/web', '--port', '81', '-f', CLUSTER, '--json');
  const [, rule = ''] =
    /^add to spec\.ingress of NetworkPolicy shop\/web: (.*)$/.exec(JSON.parse(before.stdout).ends[1].fix) ??
    [];
  const spec = { podSelector: {}, ingress: [JSON.parse(rule)] };
  const fix = file(
    'fix.json',
    JSON.stringify({ kind: 'NetworkPolicy', metadata: { name: 'fix', namespace: 'shop' }, spec }),
  );
  assert.equal(policy('explain', 'client', 'shop/web', '--port', '81', '-f', CLUSTER, '-f', fix).status, 0);
  assert.equal(policy('explain', 'client', 'shop/web', '--port', '82', '-f', CLUSTER, '-f', fix).status, 1);
});

test('a fix names labels that last, and asks for one where there is none', () => {
  const more = file(
    'unlabelled.yaml',
    `
{ kind: Pod, metadata: { name: bare } }
---
{ kind: Pod, metadata: { name: web-1, labels: { app: shop, pod-template-hash: abc } } }
---
{ kind: Pod, metadata: { name: once-1, labels: { controller-uid: abc, job-name: once } } }
`,
  );
  const fix = (from: string): string => {
    const { stdout } = policy(
      'explain',
      from,
      'shop/web',
      '--port',
      '1',
      '-f',
      CLUSTER,
      '-f',
      more,
      '--json',
    );
    return JSON.parse(stdout).ends.at(-1).fix;
  };
  assert.match(fix('web-1'), /^add to .*"podSelector":\{"matchLabels":\{"app":"shop"\}\}/);
  for (const name of ['bare', 'once-1']) {
    const start = `give pod default/${name} a label, such as app=${name}, and add to spec.ingress`;
    assert.ok(fix(name).startsWith(start), fix(name));
    assert.ok(fix(name).includes(`"podSelector":{"matchLabels":{"app":"${name}"}}`));
  }
});

test('explain asks an agent, or reads files, but not both', () => {
  const both = policy('explain', 'client', 'shop/web', '--port', '1', '-f', CLUSTER, '--node', 'node1');
  assert.equal(both.status, 2);
  assert.match(both.stderr, /conflicts with --file/);
  const nobody = policy('explain', 'a', 'b', '--port', '1', '--socket', join(folder, 'none.sock'));
  assert.equal(nobody.status, 1);
  assert.match(nobody.stderr, /agent is running on this node/);
});

test('test: expected verdicts, beside files of a cluster', () => {
  const cases = (expect: string): string => `
kind: PolicyTest
manifests: [cluster.yaml]
cases:
- { from: client, to: shop/web, port: 8080, expect: allowed }
- { from: client, to: shop/web, port: 8080, protocol: UDP, expect: ${expect} }
- { from: shop/web, to: shop/web, port: 1, expect: allowed }`;
  const right = policy('test', '-f', file('right.yaml', cases('denied')));
  assert.deepEqual(
    [right.status, /all 3 as expected/.test(right.stdout)],
    [0, true],
    right.stdout + right.stderr,
  );
  const wrong = policy('test', '-f', file('wrong.yaml', cases('allowed')));
  assert.deepEqual(
    [wrong.status, /WRONG {2}client {2}.*1 of 3 differ/s.test(wrong.stdout)],
    [1, true],
    wrong.stdout,
  );
  const typo = policy('test', '-f', file('typo.yaml', cases('open')));
  assert.equal(typo.status, 2);
  assert.match(typo.stderr, /cases\[1\]\.expect: must be allowed or denied/);
});

test('a policy that cannot be read closes its pods, and test fails', () => {
  const broken = file(
    'broken.yaml',
    '{ kind: NetworkPolicy, metadata: { name: b, namespace: default }, spec: { podSelector: {}, ingress: [{ ports: [{ port: 0 }] }] } }',
  );
  const { status, stderr, stdout } = policy(
    'explain',
    'shop/web',
    'client',
    '--port',
    '1',
    '-f',
    CLUSTER,
    '-f',
    broken,
  );
  assert.equal(status, 1);
  assert.match(
    stderr,
    /NetworkPolicy default\/b cannot be read and closes its pods: spec\.ingress\[0\]\.ports\[0\]\.port/,
  );
  assert.match(stdout, /NetworkPolicy default\/b isolates the pod for ingress/);
});

test('Calico’s policies: one tier with NetworkPolicies, and what staged ones would do', () => {
  const calico = file(
    'calico.yaml',
    `
apiVersion: crd.projectcalico.org/v1
kind: GlobalNetworkSet
metadata: { name: office, labels: { site: office } }
spec: { nets: [192.0.2.0/24] }
---
apiVersion: crd.projectcalico.org/v1
kind: NetworkPolicy
metadata: { name: default.office, namespace: shop }
spec:
  tier: default
  order: 10
  selector: app == 'web' && pcns.team == 'a'
  types: [Ingress]
  ingress:
  - { action: Allow, source: { selector: site == 'office', namespaceSelector: global() } }
---
apiVersion: projectcalico.org/v3
kind: StagedGlobalNetworkPolicy
metadata: { name: lock }
spec: { order: 1, namespaceSelector: team == 'a', types: [Ingress] , ingress: [{ action: Deny }] }
`,
  );
  const explain = (from: string) =>
    policy('explain', from, 'shop/web', '--port', '80', '-f', CLUSTER, '-f', calico);
  const allowed = explain('192.0.2.9');
  assert.equal(allowed.status, 0, allowed.stderr);
  assert.match(
    allowed.stdout,
    /allowed: Calico NetworkPolicy shop\/default\.office, ingress\[0\], allows it/,
  );
  assert.match(allowed.stdout, /with labels "site == 'office'": network set office/);
  assert.match(
    allowed.stdout,
    /if staged policies were enforced: denied: StagedGlobalNetworkPolicy lock, ingress\[0\], denies it/,
  );
  const denied = explain('198.51.100.1');
  assert.equal(denied.status, 1);
  assert.match(
    denied.stdout,
    /Calico NetworkPolicy shop\/default\.office, NetworkPolicy shop\/web isolate the pod/,
  );
});

test('tables: what the kernel would hold, and why', () => {
  const { status, stdout } = policy('tables', '-f', CLUSTER, '--pod', 'shop/web');
  assert.equal(status, 0);
  assert.match(stdout, /table ip flatnet-policy \{/);
  assert.match(
    stdout,
    /# ip flatnet-policy ingress-\d+-allow-ports 10\.0\.0\.7 \. tcp \. 8080: allow: NetworkPolicy shop\/web ingress\[0\]/,
  );
  assert.match(
    stdout,
    /# ip flatnet-policy egress-\d+-deny-all 10\.0\.0\.7: deny: ClusterNetworkPolicy lock egress\[0\] "nothing outside"/,
  );
});

test('a pod’s own node: no isolation keeps the pod from it, a rule that denies does', () => {
  const world = file(
    'own-node.yaml',
    `
{ kind: Node, metadata: { name: n1 }, status: { addresses: [{ type: InternalIP, address: 192.0.2.9 }] } }
---
{ kind: Pod, metadata: { name: web }, spec: { nodeName: n1 }, status: { podIP: 10.0.0.2 } }
---
{ kind: NetworkPolicy, metadata: { name: closed }, spec: { podSelector: {}, policyTypes: [Ingress, Egress] } }
---
kind: ClusterNetworkPolicy
metadata: { name: no-kubelet }
spec:
  tier: Admin
  priority: 1
  subject: { namespaces: {} }
  egress: [{ action: Deny, to: [{ networks: [192.0.2.0/24] }], protocols: [{ tcp: { destinationPort: { number: 10250 } } }] }]
`,
  );
  const asked = (from: string, to: string, port: string): readonly [number | null, string] => {
    const { status, stdout } = policy('explain', from, to, '--port', port, '-f', world);
    return [status, stdout];
  };
  const [denied, why] = asked('web', '192.0.2.9', '10250');
  assert.deepEqual([denied, /no-kubelet, egress\[0\], denies it/.test(why)], [1, true], why);
  const [allowed, exempt] = asked('web', '192.0.2.9', '53');
  assert.deepEqual([allowed, /nothing isolates a pod from its own node/.test(exempt)], [0, true], exempt);
  assert.equal(asked('192.0.2.9', 'web', '80')[0], 0);
});

test('what is exempt, ends of two families, and a fix for what cannot be read', () => {
  const more = file(
    'more.yaml',
    `
{ kind: Node, metadata: { name: n1 }, status: { addresses: [{ type: InternalIP, address: 192.0.2.9 }] } }
---
{ kind: Pod, metadata: { name: both, labels: { app: both } }, spec: { nodeName: n1 }, status: { podIPs: [{ ip: 'fd00::2' }, { ip: 10.0.0.2 }] } }
---
{ kind: Pod, metadata: { name: none }, status: null }
---
{ kind: NetworkPolicy, metadata: { name: both }, spec: { podSelector: { matchLabels: { app: both } }, policyTypes: [Ingress], ingress: [{ ports: [{ port: 0 }] }] } }
`,
  );
  const node = policy('explain', '192.0.2.9', 'both', '--port', '80', '-f', more);
  assert.deepEqual([node.status, /nothing keeps a node from its own pods/.test(node.stdout)], [0, true]);
  const denied = policy('explain', 'none', 'both', '--port', '80', '-f', more, '--json');
  assert.match(
    JSON.parse(denied.stdout).ends[1].fix,
    /^correct NetworkPolicy default\/both, which cannot be read$/,
  );
  assert.equal(
    policy('explain', 'both', 'none', '--port', '80', '-f', more).status,
    0,
    'it is about ingress',
  );
});

test('denied: flows as a table or as JSON lines, those of one pod, and a note on standard error', async () => {
  const flow = (pod: string, port: number) => ({
    time: '2026-01-02T03:04:05.000Z',
    verdict: 'denied',
    direction: 'ingress',
    from: { ip: '10.0.0.1', pod },
    to: { ip: '10.0.0.2', node: 'n2' },
    protocol: 'TCP',
    port,
    because: 'of you',
    packets: 3,
  });
  const flows = async ({ after }: { after?: unknown }) => {
    assert.equal(after, 0);
    return { flows: [flow('default/a', 80), flow('shop/b', 443)], missed: 7, last: 9, note: 'NOTE' };
  };
  const socket = join(folder, 'agent.sock');
  await using _api = await LocalApi.listen(socket, { flows }, SILENT);
  const run = (...args: string[]) =>
    promisify(execFile)(FLATNET, ['policy', 'denied', '--socket', socket, ...args]);
  const { stdout, stderr } = await run();
  assert.match(stdout, /^TIME .*\n.* default\/a {2}node n2 {2}TCP 80 {3}3 {8}ingress {2}denied: of you\n/);
  assert.equal(stderr, 'NOTE\n7 further flows are forgotten\n');
  const json = (await run('--json', '--pod', 'shop/b')).stdout.trimEnd().split('\n');
  assert.deepEqual(
    json.map((line) => JSON.parse(line)),
    [flow('shop/b', 443)],
  );
});
