import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Endpoint, seenOf } from '../../../src/policy/calico/labels.ts';
import { podOf } from '../observe/policies.ts';

test('nothing passes for one of another namespace or account by labels of its own', () => {
  const claims = { 'pcns.team': 'a', 'pcsa.role': 'admin', 'projectcalico.org/serviceaccount': 'root' };
  const own = { app: 'web', ...claims };
  const set = { kind: 'network-set', name: 'office', labels: own, nets: [], namespaceLabels: {} } as const;
  const claiming: Endpoint[] = [
    { ...podOf('web', '10.0.0.1'), labels: own },
    { ...set, namespace: 'default' },
  ];
  for (const each of claiming) {
    const { own: seen } = seenOf(each);
    assert.equal(seen.app, 'web');
    for (const [key, value] of Object.entries(claims)) assert.notEqual(seen[key], value, key);
  }
  const [pod] = claiming;
  const inTeam = pod && seenOf({ ...pod, namespaceLabels: { team: 'b' } }).own;
  assert.equal(inTeam?.['pcns.team'], 'b');
  // Who writes the cluster's own sets says what they are.
  assert.deepEqual(seenOf({ ...set, namespace: undefined }).own, own);
});
