import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expand } from '../../../src/lab/pods/containers.ts';
import { labName, nodeName, podNetns, splitPodName } from '../../../src/lab/record/names.ts';
import { LabPaths } from '../../../src/lab/record/paths.ts';

test('invalid names are refused with the field and a fix', () => {
  assert.throws(() => labName('My_Lab'), /lab name: 'My_Lab' .*as 'my-lab'/);
  assert.throws(() => labName('x'.repeat(41)), /41 characters; the limit is 40/);
  assert.throws(() => nodeName('flatnet', 'router'), /node name: 'router' is reserved for the lab itself/);
  assert.throws(() => nodeName('flatnet', 'Node'), /node name: 'Node'/);
});

test('the longest names leave room for the agent’s socket path', () => {
  for (const lab of ['a', 'x'.repeat(40)]) {
    let longest = 'n';
    for (;;) {
      try {
        longest = nodeName(lab, `${longest}n`);
      } catch {
        break;
      }
    }
    const path = new LabPaths(lab).node(longest).agentSocket;
    // sun_path has 108 bytes including the terminating zero (unix(7)).
    assert.ok(Buffer.byteLength(path) <= 107, `${path.length} bytes`);
    assert.ok(longest.length >= 27);
  }
});

test('a pod’s name may contain its namespace', () => {
  assert.deepEqual(splitPodName('web'), { namespace: 'default', name: 'web' });
  assert.deepEqual(splitPodName('team-a/web', 'other'), { namespace: 'team-a', name: 'web' });
  assert.equal(podNetns('flatnet', 'default', 'web'), 'flatnet.default.web');
});

test('$(NAME) is replaced as Kubernetes does', () => {
  const env = { A: '1', B: '$(A)' };
  assert.equal(expand('$(A) $(B) $(C) $$(A) $A $', env), '1 $(A) $(C) $(A) $A $');
});
