import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Manifest, readManifests } from '../../../src/lab/pods/manifest/read.ts';

function read(text: string): { manifests: Manifest[]; warnings: string[] } {
  const warnings: string[] = [];
  return { manifests: readManifests(text, 'web.yaml', (warning) => warnings.push(warning)), warnings };
}

const POD = `
apiVersion: v1
kind: Pod
metadata: { name: web }
spec: { containers: [ { name: c, image: busybox, command: [sleep, '1'] } ] }
`;
const DEPLOYMENT = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: team }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
        - name: nginx
          image: nginx
          ports: [ { containerPort: 80 }, { containerPort: 53, protocol: UDP } ]
`;

test('the example is a deployment of two containers', () => {
  const text = readFileSync('examples/pod-two-container.yaml', 'utf8');
  const { manifests, warnings } = read(text);
  assert.deepEqual(warnings, []);
  const [deployment] = manifests;
  assert.equal(deployment?.kind, 'Deployment');
  assert.deepEqual(
    deployment?.kind === 'Deployment' && deployment.template.containers.map((each) => each.image),
    ['nginx:1.27', 'busybox:1.36'],
  );
});

test('several documents, defaults, and a list as kubectl writes it', () => {
  const namespace = 'apiVersion: v1\nkind: Namespace\nmetadata: { name: team, labels: { a: b } }\n';
  const { manifests } = read(`${namespace}---\n${POD}---\n${DEPLOYMENT}---\n`);
  assert.deepEqual(
    manifests.map((each) => [each.kind, each.name]),
    [
      ['Namespace', 'team'],
      ['Pod', 'web'],
      ['Deployment', 'web'],
    ],
  );
  const deployment = manifests[2];
  assert.ok(deployment?.kind === 'Deployment');
  assert.equal(deployment.replicas, 1);
  assert.deepEqual(deployment.template.containers[0]?.ports, [80]);
  const json = JSON.stringify({
    apiVersion: 'v1',
    kind: 'List',
    items: [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'x' } }],
  });
  assert.deepEqual(read(json).manifests, [{ kind: 'Namespace', name: 'x', labels: {} }]);
});

test('annotations of a pod and of a template reach the pods', () => {
  const annotations = { 'cni.projectcalico.org/ipAddrs': '["10.244.0.53"]' };
  const text = JSON.stringify(annotations);
  const [pod] = read(POD.replace('name: web }', `name: web, annotations: ${text} }`)).manifests;
  assert.deepEqual(pod?.kind === 'Pod' && pod.template.annotations, annotations);
  const inTemplate = DEPLOYMENT.replace(
    '{ labels: { app: web } }',
    `{ labels: { app: web }, annotations: ${text} }`,
  );
  const [deployment] = read(inTemplate).manifests;
  assert.deepEqual(deployment?.kind === 'Deployment' && deployment.template.annotations, annotations);
  const [plain] = read(POD).manifests;
  assert.ok(plain?.kind === 'Pod' && !('annotations' in plain.template));
});

test('the hash follows the template and nothing else', () => {
  const hash = (text: string): string => {
    const [manifest] = read(text).manifests;
    return manifest && 'hash' in manifest ? manifest.hash : '';
  };
  const base = hash(DEPLOYMENT);
  assert.equal(hash(DEPLOYMENT.replace('spec:\n  selector', 'spec:\n  replicas: 7\n  selector')), base);
  assert.notEqual(hash(DEPLOYMENT.replace('image: nginx', 'image: nginx:2')), base);
  const annotated = DEPLOYMENT.replace(
    '{ labels: { app: web } }',
    "{ labels: { app: web }, annotations: { a: 'b' } }",
  );
  assert.notEqual(hash(annotated), base);
});

test('ignored fields are reported', () => {
  const { warnings } = read(
    DEPLOYMENT.replace(
      '          image: nginx',
      '          image: nginx\n          livenessProbe: {}\n          resources: {}',
    ),
  );
  assert.deepEqual(warnings, ['web.yaml: spec.template.spec.containers[0].livenessProbe is ignored']);
});

// Each error names the place and the problem.
const WRONG: Record<string, [text: string, error: RegExp]> = {
  'invalid YAML': ['a: [', /^web\.yaml:1:5: /],
  'a kind named like an inherited property': [
    POD.replace('kind: Pod', 'kind: toString'),
    /kind: 'toString' is not supported in a lab/,
  ],
  'aliases within aliases': [
    `a: &a [x,x,x,x,x,x,x,x]\n${['b', 'c', 'd', 'e'].map((name, i) => `${name}: &${name} [${Array(8).fill(`*${'abcd'[i]}`)}]\n`).join('')}`,
    /web\.yaml: Excessive alias count/,
  ],
  nothing: ['# empty', /^web\.yaml: contains no manifest/],
  'not an object': ['- 1', /^web\.yaml: must be an object, not a list/],
  'no kind': ['apiVersion: v1', /web\.yaml: kind: is missing/],
  'unknown kind': [
    'apiVersion: batch/v1\nkind: Job',
    /web\.yaml: kind: 'Job' is not supported in a lab; use one of Namespace, Pod, Deployment, DaemonSet/,
  ],
  'a resource': [
    'apiVersion: projectcalico.org/v3\nkind: IPPool',
    /kind: 'IPPool' is not supported in a lab; it is a resource in the store: flatnet apply --lab LAB/,
  ],
  'a wrong version': [
    'apiVersion: extensions/v1beta1\nkind: Deployment',
    /apiVersion: of Deployment must be apps\/v1/,
  ],
  'no metadata': ['apiVersion: v1\nkind: Pod', /metadata: is missing/],
  'a bad name': [POD.replace('web', 'Web_1'), /metadata\.name: .*as 'web-1'/],
  'no containers': [POD.replace(/containers:.*\]/, 'containers: []'), /spec\.containers: is empty/],
  'no image': [POD.replace('image: busybox, ', ''), /spec\.containers\[0\]\.image: is missing/],
  'a number for a string': [
    POD.replace("'1'", '1'),
    /containers\[0\]\.command\[1\]: must be a string, not 1; put it in quotes/,
  ],
  'the host’s network': [
    POD.replace('containers:', 'hostNetwork: true, containers:'),
    /spec\.hostNetwork: is not supported in a lab/,
  ],
  'a bad port': [
    DEPLOYMENT.replace('80', '80000'),
    /ports\[0\]\.containerPort: must be a whole number from 1 to 65535/,
  ],
  'no selector': [DEPLOYMENT.replace(/ {2}selector.*\n/, ''), /spec\.selector: is missing/],
  'a selector that does not match the template': [
    DEPLOYMENT.replace('app: web } }\n  template', 'app: db } }\n  template'),
    /selector\.matchLabels: requires app=db/,
  ],
  'negative replicas': [
    DEPLOYMENT.replace('spec:\n  selector', 'spec:\n  replicas: -1\n  selector'),
    /spec\.replicas: must be a whole number from 0 to 999, not -1/,
  ],
  'the same object twice': [`${POD}---\n${POD}`, /web\.yaml: contains Pod\/default\/web twice/],
  'an error in the second document': [`${POD}---\nkind: Pod`, /web\.yaml document 2: apiVersion: is missing/],
};

for (const [what, [text, error]] of Object.entries(WRONG)) {
  test(`refused: ${what}`, () =>
    assert.throws(() => read(text), { code: 'MANIFEST_INVALID', message: error }));
}
