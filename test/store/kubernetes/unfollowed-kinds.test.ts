import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlatnetError } from '../../../src/error.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { problemText } from '../../../src/problem.ts';
import { UnfollowedKinds } from '../../../src/store/kubernetes/unfollowed-kinds.ts';
import { eventually } from '../servers.ts';

test('the status names the kinds of policies that a cluster has and nobody follows', async (t) => {
  let served: Readonly<Record<string, readonly string[]>> | Error = {};
  const client: Pick<KubernetesClient, 'call'> = {
    call: async ({ path = '' }) => {
      if (served instanceof Error) throw served;
      const names = served[path.slice('/apis/'.length)];
      if (!names) throw new FlatnetError('no such kind', { code: 'KIND_UNKNOWN' });
      return { resources: names.map((name) => ({ name })) };
    },
  };
  const kinds = new UnfollowedKinds(client, 10);
  const ended = new AbortController();
  t.after(() => ended.abort());
  const running = kinds.run(ended.signal);
  const named = (): string => kinds.problems.map(problemText).join('\n');

  served = { 'policy.networking.k8s.io/v1alpha1': ['adminnetworkpolicies'] };
  await eventually(() => /v1alpha1: .*; write ClusterNetworkPolicies instead$/.test(named()));
  served = new FlatnetError('down', { code: 'STORE_UNAVAILABLE' });
  await new Promise((later) => setTimeout(later, 50));
  assert.equal(kinds.problems.length, 1, 'no answer is no absence');
  served = { 'policy.networking.k8s.io/v1alpha1': ['others'] };
  await eventually(() => kinds.problems.length === 0);
  ended.abort();
  await running;
});
