import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { ApiServer, NO_API_SERVER } from '../api-server.ts';
import { component } from '../nodes/component.ts';
import { CHART, Helm, NO_HELM, type Objects, objectsIn, type Values } from './helm.ts';

const run = promisify(execFile);
const skip = NO_API_SERVER || NO_HELM;
const DEPLOY = join(CHART, '../..');
const IN = ['--namespace', 'kube-flannel'] as const;
const BGP = parse(readFileSync(join(CHART, 'values-bgp.yaml'), 'utf8')) as Values;
const PRIVILEGED = 'pod-security.kubernetes.io/enforce=privileged';
/** All kinds that the chart has objects of, and whatever is not the cluster's own. */
const KINDS = 'daemonsets,configmaps,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings';
const POOL = { apiVersion: 'flatnet.dev/v1', kind: 'IPPool', metadata: { name: 'mine' } };

type Test = { readonly after: (end: () => unknown) => void };

/** A cluster with the namespace that deployment.md has you make. */
async function cluster(t: Test, hasNamespace = true) {
  const server = await ApiServer.start(t);
  const kubeconfig = server.kubeconfig();
  const kubectl = async (...args: readonly string[]): Promise<string> => {
    const argv = ['--kubeconfig', kubeconfig, ...args];
    return (await run(component('kubectl'), argv, { maxBuffer: 1 << 26 })).stdout;
  };
  if (hasNamespace) {
    await kubectl('create', 'namespace', 'kube-flannel');
    await kubectl('label', 'namespace', 'kube-flannel', PRIVILEGED);
  }
  const before = await found(kubectl);
  /** What is there that was not before. */
  const live = async (): Promise<Objects> => {
    const all = [...(await found(kubectl))];
    return new Map(all.filter(([key]) => !before.has(key)));
  };
  const apply = async (object: object): Promise<void> => {
    const file = join(server.folder, 'applied.json');
    writeFileSync(file, JSON.stringify(object));
    await kubectl('apply', '--server-side', '-f', file);
  };
  return { helm: new Helm(t, kubeconfig), kubectl, apply, live };
}

type Kubectl = (...args: readonly string[]) => Promise<string>;

async function found(kubectl: Kubectl): Promise<Objects> {
  const { items } = JSON.parse(await kubectl('get', KINDS, '--all-namespaces', '-o', 'json'));
  const crds = JSON.parse(await kubectl('get', 'customresourcedefinitions', '-o', 'json'));
  const all = [...items, ...crds.items].map((each) => JSON.stringify(each));
  return objectsIn(all.join('\n---\n'));
}

/** Whether the cluster has the rendered objects, as rendered but for what it adds, and no others. */
function assertIsThere(live: Objects, rendered: Objects): void {
  assert.deepEqual([...live.keys()], [...rendered.keys()]);
  for (const [key, value] of rendered) assert.deepEqual(common(live.get(key), value), value, key);
}

/** Of `value`, what `pattern` has, too. */
function common(value: unknown, pattern: unknown): unknown {
  if (Array.isArray(pattern) && Array.isArray(value) && pattern.length === value.length)
    return value.map((each, i) => common(each, pattern[i]));
  if (!isGroup(value) || !isGroup(pattern)) return value;
  const shared = Object.entries(value).filter(([name]) => name in pattern);
  return Object.fromEntries(shared.map(([name, each]) => [name, common(each, pattern[name])]));
}

function isGroup(value: unknown): value is Values {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function inOrder(entries: readonly (readonly [string, unknown])[]): Objects {
  return new Map(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

const isCrd = (key: string): boolean => key.startsWith('CustomResourceDefinition ');
const crdsOf = (objects: Objects): Objects => new Map([...objects].filter(([key]) => isCrd(key)));

test('Helm installs, upgrades, rolls back and uninstalls; CRDs and what operators made stay', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const { helm, kubectl, apply, live } = await cluster(t);
  const own = objectsIn(await helm.template());
  const crds = crdsOf(own);
  assert.equal(crds.size, 10);

  await helm.install();
  assertIsThere(await live(), own);
  const spec = { cidr: '10.9.0.0/16' };
  await apply({ ...POOL, spec });

  const changed = { ...BGP, healthzPort: 9999, bird: { resources: { limits: { cpu: '1' } } } };
  await helm.upgrade(changed);
  const withBird = objectsIn(await helm.template(changed));
  assert.ok(withBird.has('DaemonSet kube-flannel kube-flatnet-bird'));
  assertIsThere(await live(), withBird);

  await helm.run(
    'upgrade',
    'flatnet',
    CHART,
    ...IN,
    '--reset-then-reuse-values',
    '--set',
    'healthzPort=8082',
  );
  assertIsThere(await live(), objectsIn(await helm.template({ ...changed, healthzPort: 8082 })));
  await helm.upgrade(changed);

  await assert.rejects(helm.upgrade({ network: { backend: {} } }), /additional properties 'backend'/);
  assertIsThere(await live(), withBird);

  await helm.run('rollback', 'flatnet', '1', ...IN);
  assertIsThere(await live(), own);
  assert.match(await helm.run('history', 'flatnet', ...IN), /5 .*deployed.*Rollback to 1/);

  await helm.run('uninstall', 'flatnet', ...IN);
  assertIsThere(await live(), crds);
  assert.deepEqual(JSON.parse(await kubectl('get', 'ippools.flatnet.dev', 'mine', '-o', 'json')).spec, spec);
  await kubectl('get', 'namespace', 'kube-flannel');

  await helm.install();
  assertIsThere(await live(), own);
});

test('Helm leaves CRDs as they are on upgrades; kubectl brings them up to date', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const { helm, kubectl, live } = await cluster(t);
  await helm.install();
  // As an older release had them.
  const path = '/spec/versions/0/schema/openAPIV3Schema/description';
  const older = JSON.stringify([{ op: 'add', path, value: 'older' }]);
  const name = 'ippools.flatnet.dev';
  await kubectl('patch', 'crd', name, '--type=json', '--field-manager=helm', '-p', older);
  await kubectl('delete', 'crd', 'nodebgps.flatnet.dev');
  const key = `CustomResourceDefinition  ${name}`;
  const description = async (): Promise<string> =>
    JSON.stringify((await live()).get(key)).includes('"description":"older"') ? 'older' : 'newer';
  await helm.upgrade({ healthzPort: 9999 });
  assert.equal(await description(), 'older');
  assert.equal(crdsOf(await live()).size, 9);
  await kubectl('apply', '--server-side', '--force-conflicts', '-f', join(DEPLOY, 'crds'));
  assertIsThere(crdsOf(await live()), crdsOf(objectsIn(await helm.template())));
});

test('flannel’s ConfigMap is refused, or read as it is', { skip, timeout: 300_000 }, async (t) => {
  const { helm, apply, live } = await cluster(t);
  const flannels = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'kube-flannel-cfg', namespace: 'kube-flannel' },
    data: {
      'net-conf.json': '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}',
      'cni-conf.json': '{}',
    },
  };
  await apply(flannels);
  await assert.rejects(helm.install(), /ConfigMap "kube-flannel-cfg" .* exists and cannot be imported/);
  const values = { createConfigMap: false };
  await helm.install(values);
  const key = 'ConfigMap kube-flannel kube-flannel-cfg';
  const ours = objectsIn(await helm.template(values));
  assert.ok(!ours.has(key));
  assertIsThere(await live(), inOrder([...ours, [key, flannels]]));
  await helm.run('uninstall', 'flatnet', ...IN);
  assertIsThere(await live(), inOrder([...crdsOf(ours), [key, flannels]]));
});

test('what kubectl has installed becomes Helm’s with --take-ownership', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const { helm, kubectl, live } = await cluster(t);
  await kubectl('apply', '--server-side', '--force-conflicts', '-f', join(DEPLOY, 'flatnet.yaml'));
  await assert.rejects(helm.install(), /exists and cannot be imported into the current release/);
  const values = { healthzPort: 9999 };
  await helm.install(values, '--take-ownership');
  assertIsThere(await live(), objectsIn(await helm.template(values)));
  const without = { createConfigMap: false };
  await helm.upgrade(without);
  assertIsThere(await live(), objectsIn(await helm.template(without)));
  await helm.run('uninstall', 'flatnet', ...IN);
  assert.deepEqual(
    [...(await live()).keys()].filter((key) => !isCrd(key)),
    [],
  );
});

test('Helm’s own record needs the namespace first; one that the chart has made stays', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const { helm, kubectl, live } = await cluster(t, false);
  const values = { createNamespace: true };
  await assert.rejects(helm.install(values), /namespaces "kube-flannel" not found/);
  const release = ['flatnet', '--namespace', 'default'] as const;
  await helm.run('install', ...release, CHART, '--set', 'createNamespace=true');
  const label = ['get', 'namespace', 'kube-flannel', '-o', 'jsonpath={.metadata.labels}'] as const;
  assert.match(await kubectl(...label), /"pod-security.kubernetes.io\/enforce":"privileged"/);
  await helm.run('upgrade', ...release, CHART, '--set', 'createNamespace=false');
  await helm.run('uninstall', ...release);
  assert.match(await kubectl(...label), /privileged/);
  assert.ok([...(await live()).keys()].every(isCrd));
});
