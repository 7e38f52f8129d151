import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agentReady, startAgent, stopAgent } from '../../../src/lab/machine/agent.ts';
import { Cluster, type TestNode } from '../../agent/cluster.ts';
import { RunningPing } from '../../agent/running-ping.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { eventually } from '../../store/servers.ts';

/** Plain routes, such as host-gw's, made by commands alone. */
const ROUTES = {
  Network: '10.244.0.0/16',
  Backend: {
    Type: 'extension',
    PreStartupCommand: 'uname -s',
    SubnetAddCommand: 'ip route replace $SUBNET via $PUBLIC_IP proto 200',
    SubnetRemoveCommand: 'ip route delete $SUBNET via $PUBLIC_IP proto 200',
  },
};

test('whole agents: pods reach each other through what commands have made, and routes go with their nodes', {
  skip: NO_KERNEL,
}, async (t) => {
  await using cluster = await Cluster.up(2, ROUTES);
  const [one, two] = [...cluster.nodes.values()];
  assert.ok(one && two);
  const routes = (node: TestNode): readonly string[] =>
    cluster
      .ip(node, 'route show proto 200')
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(' ')[0] ?? '');
  await eventually(() => routes(one).length === 1 && routes(two).length === 1);
  assert.deepEqual([routes(one), routes(two)], [two.subnets, one.subnets]);
  const [pod, other] = [one.pods[0]?.record, two.pods[0]?.record];
  assert.ok(pod && other?.addresses[0]);
  const ping = new RunningPing(t, cluster.podNetns(pod), other.addresses[0]);
  await ping.answered();

  await stopAgent(cluster.lab, one.name, 'kill');
  await startAgent(cluster.lab, one.name);
  await agentReady(cluster.lab, one.name);
  assert.deepEqual(ping.soFar().lost, []);

  // Its lease ends while this node's agent is down.
  await stopAgent(cluster.lab, one.name, 'stop');
  await cluster.removeNode(two);
  await startAgent(cluster.lab, one.name);
  await agentReady(cluster.lab, one.name);
  await eventually(() => routes(one).length === 0);
});
