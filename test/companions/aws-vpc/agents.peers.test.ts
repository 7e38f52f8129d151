import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AttachInternetGatewayCommand,
  CreateInternetGatewayCommand,
  CreateRouteCommand,
  DeleteRouteCommand,
} from '@aws-sdk/client-ec2';
import { isWell } from '../../../src/agent/status.ts';
import { agentReady, stopAgent } from '../../../src/lab/machine/agent.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { eventually } from '../../store/servers.ts';
import { API, CloudLab, NODES } from '../cloud-lab.ts';
import { Ec2, NO_MOTO } from './moto.ts';

const PORT = 8000;

test('agents whose pods reach each other by what they write into a VPC', {
  skip: NO_MOTO || NO_KERNEL,
  timeout: 180_000,
}, async (t) => {
  const ec2 = await Ec2.start(`http://${API}:${PORT}`);
  t.after(() => ec2[Symbol.asyncDispose]());
  for (const ip of Object.values(NODES)) await ec2.run(ip);
  const vpc = await CloudLab.start(t, {
    network: { Network: '10.96.0.0/16', EnableIPv6: true, IPv6Network: 'fd00:96::/56' },
    backend: 'aws-vpc',
    forwarding: () => ec2.forwarding(ec2.table),
    serveIn: (netns) => ec2.serveIn(netns, PORT),
  });
  const { lab } = vpc;
  assert.deepEqual(await vpc.unreached(300), [
    'on-node1 does not reach on-node2 (IPv4)',
    'on-node2 does not reach on-node1 (IPv4)',
    'on-node1 does not reach on-node2 (IPv6)',
    'on-node2 does not reach on-node1 (IPv6)',
  ]);
  for (const node of Object.keys(NODES))
    await vpc.until(node, (s, t) => isWell(s) && s.backend === 'aws-vpc' && t === '');
  const routes = await vpc.route();
  assert.deepEqual([...routes.values()].sort(), [NODES.node1, NODES.node1, NODES.node2, NODES.node2]);
  assert.deepEqual(await vpc.unreached(), []);
  const { subnets } = await vpc.until('node2', isWell);
  const [subnet = ''] = subnets;
  assert.deepEqual(
    subnets.map((each) => routes.get(each)),
    [NODES.node2, NODES.node2],
  );

  t.diagnostic('the cloud’s API is away');
  ec2.isAway = true;
  await vpc.restart('node1');
  await vpc.until('node1', (status, text) => isWell(status) && /cannot be checked; those/.test(text));
  await vpc.route();
  assert.deepEqual(await vpc.unreached(), []);
  ec2.isAway = false;
  await vpc.until('node1', (_, text) => text === '');

  t.diagnostic('a table that there is not');
  await vpc.configure({ RouteTableID: 'rtb-0123456789' });
  const wrong =
    /Backend\.RouteTableID: there is no rtb-0123456789 .*; list route tables of vpc-\w+, or leave/;
  await vpc.until('node1', ({ ready }, text) => ready && wrong.test(text));
  assert.deepEqual(await vpc.route(), routes);
  await vpc.configure({});
  for (const node of Object.keys(NODES)) await vpc.until(node, (_, text) => text === '');

  t.diagnostic('somebody else’s route');
  const created = await ec2.client.send(new CreateInternetGatewayCommand({}));
  const GatewayId = created.InternetGateway?.InternetGatewayId;
  await ec2.client.send(new AttachInternetGatewayCommand({ InternetGatewayId: GatewayId, VpcId: ec2.vpc }));
  const place = { RouteTableId: ec2.table, DestinationCidrBlock: subnet };
  await ec2.client.send(new DeleteRouteCommand(place));
  await ec2.client.send(new CreateRouteCommand({ ...place, GatewayId }));
  await vpc.restart('node2');
  const removal = `aws ec2 delete-route --route-table-id ${ec2.table} --destination-cidr-block ${subnet}`;
  await vpc.until(
    'node2',
    ({ notReady = '' }, text) =>
      notReady.endsWith(`${ec2.table} sends ${subnet}, this node’s subnet, to ${GatewayId}`) &&
      text.includes(`remove it if nobody needs it: ${removal}`),
  );
  await ec2.client.send(new DeleteRouteCommand(place));

  t.diagnostic('a permission is missing');
  ec2.refusal = { status: 403, code: 'UnauthorizedOperation', actions: ['CreateRoute'] };
  await vpc.restart('node2');
  await vpc.until('node2', ({ notReady = '' }) =>
    /ec2:CreateRoute rtb-\w+ [\d./]+: is not allowed; allow ec2:CreateRoute in the policy/.test(notReady),
  );
  ec2.refusal = undefined;
  await agentReady(lab, 'node2');
  assert.deepEqual(await vpc.route(), routes);
  assert.deepEqual(await vpc.unreached(), []);

  t.diagnostic('a node leaves');
  await stopAgent(lab, 'node2', 'stop');
  assert.ok((await vpc.route()).has(subnet), 'that it stops changes nothing');
  await vpc.forget('node2');
  await eventually(async () => (await vpc.route()).size === 2, 10_000);
  const left = await vpc.route();
  assert.ok(subnets.every((each) => !left.has(each)));
  await vpc.until('node1', isWell);
});
