import assert from 'node:assert/strict';
import { test } from 'node:test';
import { overviewOf } from '../../../src/cli/kubectl/overview.ts';
import type { KubernetesObject } from '../../../src/kubernetes/api/object.ts';

/** A node with flannel's annotations, and maybe ours. */
function node(name: string, reason: string, isOurs: boolean): KubernetesObject {
  const record = { name, labels: {}, subnets: [], instance: 'x', addresses: ['10.0.0.1'] };
  const annotations = {
    'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
    'flannel.alpha.coreos.com/backend-type': 'host-gw',
    'flannel.alpha.coreos.com/backend-data': 'null',
    'flannel.alpha.coreos.com/public-ip': '10.0.0.1',
    ...(isOurs && { 'flatnet.dev/node': JSON.stringify(record) }),
  };
  const conditions = [{ type: 'NetworkUnavailable', status: 'False', reason }];
  return { metadata: { name, annotations }, status: { conditions } };
}

test('a node is flannel’s before a takeover and after the way back, when our annotation is still there', () => {
  const nodes = [
    node('before', 'FlannelIsUp', false),
    node('ours', 'FlatnetIsUp', true),
    node('returned', 'FlannelIsUp', true),
    { metadata: { name: 'new' } },
  ];
  assert.deepEqual(
    overviewOf({ nodes, pods: [], events: [] }).map(({ node: name, agent }) => `${name} ${agent}`),
    ['before flannel', 'new none', 'ours unseen', 'returned flannel'],
  );
});
