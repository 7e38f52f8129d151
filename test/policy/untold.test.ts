import assert from 'node:assert/strict';
import { test } from 'node:test';
import { untold } from '../../src/policy/untold.ts';

const SILENT: readonly unknown[] = [
  {},
  null,
  {
    podSelector: { matchLabels: { port: 'http' } },
    ingress: [{ ports: [{ port: 80, protocol: 'TCP', endPort: 90 }] }],
  },
  {
    selector: "a == 'b'",
    ingress: [{ action: 'Allow', destination: { ports: [80, '90:95', '8080'], notPorts: [] } }],
  },
  { serviceAccountSelector: '', egress: [{ source: { serviceAccounts: { names: [], selector: '' } } }] },
  { ingress: [{ protocols: [{ tcp: { destinationPort: { number: 80 } } }] }] },
  { selector: "pcns.team == 'a'" },
];
const TELLING: readonly (readonly [unknown, RegExp])[] = [
  [
    { ingress: [{ ports: [{ protocol: 'TCP', port: 'http' }] }] },
    /^spec\.ingress\[0\]\.ports\[0\]\.port: .*numbers/,
  ],
  [
    { ingress: [{}, { destination: { notPorts: [80, 'http'] } }] },
    /^spec\.ingress\[1\]\.destination\.notPorts: /,
  ],
  [{ ingress: [{ protocols: [{ destinationNamedPort: 'http' }] }] }, /destinationNamedPort: /],
  [{ serviceAccountSelector: 'all()' }, /^spec\.serviceAccountSelector: .*service accounts/],
  [
    { egress: [{ destination: { serviceAccounts: { names: ['a'] } } }] },
    /^spec\.egress\[0\]\.destination\.serviceAccounts: /,
  ],
  [{ egress: [{ destination: { notSelector: 'has(pcsa.role)' } }] }, /notSelector: /],
  [{ selector: "projectcalico.org/serviceaccount == 'a'" }, /^spec\.selector: /],
  [{ Ingress: [{ Ports: [{ Port: 'http' }] }] }, /Port: /],
];

test('what nodes cannot tell of their pods is found wherever a policy asks for it', () => {
  for (const spec of SILENT) assert.equal(untold(spec), undefined, JSON.stringify(spec));
  for (const [spec, expected] of TELLING) assert.match(untold(spec) ?? '', expected, JSON.stringify(spec));
});
