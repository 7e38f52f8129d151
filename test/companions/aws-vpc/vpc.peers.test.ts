import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, type TestContext, test } from 'node:test';
import {
  AttachInternetGatewayCommand,
  CreateInternetGatewayCommand,
  CreateRouteCommand,
  DeleteRouteCommand,
  DescribeNetworkInterfacesCommand,
} from '@aws-sdk/client-ec2';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { eventually } from '../../store/servers.ts';
import { CloudNode } from '../cloud-node.ts';
import { Ec2, type Instance, NO_MOTO } from './moto.ts';

const CHANGES = /^(Create|Replace|Delete|Modify)/;

describe('routes in a VPC, with Amazon’s SDK against moto', { skip: NO_MOTO }, () => {
  let ec2: Ec2;
  let count = 0;
  before(async () => {
    ec2 = await Ec2.start();
  });
  after(() => ec2?.[Symbol.asyncDispose]());

  /** An instance of its own, as a node of its own, whose agent has started. */
  async function nodeIn(t: TestContext) {
    const instance = await ec2.run();
    ec2.here = instance;
    const node = new CloudNode(t, 'aws-vpc', ++count, instance.ip);
    const [subnet = ''] = node.node.subnets;
    return { instance, node, subnet, companions: await node.start() };
  }

  /** Where a table’s routes lead. */
  const targets = async (table: string, to: string): Promise<readonly (string | undefined)[]> =>
    (await ec2.routes(table, to)).map((route) => route.NetworkInterfaceId ?? route.GatewayId);

  const isChecked = async ({ eni }: Instance): Promise<boolean | undefined> => {
    const command = new DescribeNetworkInterfacesCommand({ NetworkInterfaceIds: [eni] });
    return (await ec2.client.send(command)).NetworkInterfaces?.[0]?.SourceDestCheck;
  };

  test('a node routes its subnet to itself in its own table, once, and takes that back', async (t) => {
    const { instance, node, subnet, companions } = await nodeIn(t);
    assert.match(companions.problem ?? '', /no route to this node’s pods yet/);
    node.tell([], {}, { isMember: false });
    assert.equal(companions.withholds, undefined, 'a new node must join to have a subnet');
    const changed = once(companions, 'changed');
    node.tell([]);
    assert.equal(companions.withholds, companions.problem, 'peers use the former backend until it is there');
    await changed;
    assert.deepEqual([companions.withholds, companions.problem], [undefined, undefined]);
    assert.deepEqual(await targets(ec2.table, subnet), [instance.eni]);
    assert.equal(await isChecked(instance), false);
    assert.deepEqual(companions.warnings, []);

    const again = await node.start();
    ec2.actions.length = 0;
    node.tell([]);
    assert.equal(again.problem, undefined, 'it was there when the last agent looked');
    await eventually(() => node.looks === 2);
    assert.deepEqual(
      ec2.actions.filter((name) => CHANGES.test(name)),
      [],
    );

    // Several tables, then another subnet.
    node.tell([], { RouteTableID: [ec2.table, ec2.second] });
    await eventually(async () => (await targets(ec2.second, subnet)).length === 1);
    const other = parseCidr('10.244.200.0/24');
    node.tell([], { RouteTableID: [ec2.table, ec2.second] }, { subnets: [other] });
    await eventually(async () => (await targets(ec2.second, subnet)).length === 0);
    assert.deepEqual(
      [await targets(ec2.table, subnet), await targets(ec2.table, other)],
      [[], [instance.eni]],
    );

    await eventually(() => again.problem === undefined);
    await again.use('vxlan');
    await again.endOthers();
    for (const table of [ec2.table, ec2.second]) assert.deepEqual(await targets(table, other), []);
  });

  test('somebody else’s route in the place of its own is named and left alone', async (t) => {
    const { instance, node, subnet, companions } = await nodeIn(t);
    const created = await ec2.client.send(new CreateInternetGatewayCommand({}));
    const GatewayId = created.InternetGateway?.InternetGatewayId;
    await ec2.client.send(new AttachInternetGatewayCommand({ InternetGatewayId: GatewayId, VpcId: ec2.vpc }));
    const place = { RouteTableId: ec2.table, DestinationCidrBlock: subnet };
    await ec2.client.send(new CreateRouteCommand({ ...place, GatewayId }));
    // A gateway that is detached for now.
    ec2.areDead = true;
    t.after(() => {
      ec2.areDead = false;
    });
    node.tell([]);
    await eventually(() => companions.warnings.length > 0);
    ec2.areDead = false;
    const command = `aws ec2 delete-route --route-table-id ${ec2.table} --destination-cidr-block ${subnet}`;
    assert.deepEqual(companions.warnings, [
      {
        id: 'cloud-route-conflict',
        severity: 'error',
        what: `${ec2.table} sends ${subnet}, this node’s subnet, to ${GatewayId}`,
        cause: 'that is no node of this cluster, so the route is left alone',
        fix: `remove it if nobody needs it: ${command}`,
      },
    ]);
    assert.match(companions.problem ?? '', new RegExp(`${ec2.table} sends`));
    assert.deepEqual(await targets(ec2.table, subnet), [GatewayId]);
    // Nor does it take the route of an instance that is no node.
    const stranger = await ec2.run();
    await ec2.client.send(new DeleteRouteCommand(place));
    await ec2.client.send(new CreateRouteCommand({ ...place, NetworkInterfaceId: stranger.eni }));
    const again = await node.start();
    node.tell([]);
    await eventually(() => again.warnings.length > 0);
    assert.equal(node.looks, 2);
    assert.deepEqual(await targets(ec2.table, subnet), [stranger.eni]);
    // But that of one which has another subnet now.
    const peer = new CloudNode(t, 'aws-vpc', 99, stranger.ip);
    const third = await node.start();
    node.tell([peer.node]);
    await eventually(() => third.problem === undefined);
    assert.deepEqual(await targets(ec2.table, subnet), [instance.eni]);
  });

  test('the routes of a node that is gone go, whoever it was that left, and no others', async (t) => {
    const gone = await nodeIn(t);
    gone.node.tell([]);
    await eventually(() => gone.companions.problem === undefined);
    await gone.node.stop();
    const stranger = await ec2.run();
    const foreign = { RouteTableId: ec2.table, DestinationCidrBlock: '10.244.250.0/24' };
    await ec2.client.send(new CreateRouteCommand({ ...foreign, NetworkInterfaceId: stranger.eni }));

    const { node, companions } = await nodeIn(t);
    node.tell([gone.node.node]);
    await eventually(() => companions.problem === undefined);
    // `flatnet forget` while no agent runs.
    await node.start();
    const { looks } = node;
    node.tell([], {}, { isComplete: false });
    await eventually(() => node.looks > looks);
    assert.deepEqual(await targets(ec2.table, gone.subnet), [gone.instance.eni], 'that view is not complete');
    node.tell([]);
    await eventually(async () => (await targets(ec2.table, gone.subnet)).length === 0);
    assert.deepEqual(await targets(ec2.table, foreign.DestinationCidrBlock), [stranger.eni]);
  });

  test('what the cloud refuses is named; the node’s route, once there, stays and is believed', async (t) => {
    t.after(() => {
      ec2.refusal = undefined;
    });
    const { instance, node, subnet, companions } = await nodeIn(t);
    const says = (pattern: RegExp) =>
      eventually(() =>
        pattern.test(`${companions.problem} ${companions.warnings.map(({ cause }) => cause)}`),
      );
    const forbidden = (...actions: string[]) => ({ status: 403, code: 'UnauthorizedOperation', actions });
    ec2.refusal = forbidden('CreateRoute', 'ModifyNetworkInterfaceAttribute');
    node.tell([]);
    await says(
      /ec2:CreateRoute rtb-\w+ 10\.244\.\d+\.0\/24: is not allowed; allow ec2:CreateRoute in the policy/,
    );
    ec2.refusal = forbidden('ModifyNetworkInterfaceAttribute');
    await eventually(() => companions.problem === undefined);
    const [unchecked] = companions.warnings;
    assert.equal(unchecked?.id, 'cloud-drops-pods');
    assert.match(unchecked?.cause ?? '', /^ec2:ModifyNetworkInterfaceAttribute eni-\w+: is not allowed/);

    const again = await node.start();
    ec2.refusal = { status: 503, code: 'RequestLimitExceeded' };
    node.tell([]);
    await eventually(() => again.warnings.length > 0, 60_000);
    assert.equal(again.problem, undefined);
    assert.deepEqual(
      again.warnings.map(({ id, severity }) => [id, severity]),
      [['cloud-unavailable', 'warning']],
    );
    assert.match(again.warnings[0]?.cause ?? '', /DescribeInstances i-\w+: EC2 limits requests/);
    assert.deepEqual(await targets(ec2.table, subnet), [instance.eni]);
  });

  test('an API that takes requests and never answers is reported', async (t) => {
    t.after(() => {
      ec2.isSilent = false;
    });
    const { node, companions } = await nodeIn(t);
    ec2.isSilent = true;
    // The SDK's ten seconds, four times, are over sooner.
    const { setTimeout } = globalThis;
    const sooner = (call: (...given: unknown[]) => void, ms?: number, ...rest: unknown[]) =>
      setTimeout(call, ms === 10_000 ? 100 : ms, ...rest);
    t.mock.method(globalThis, 'setTimeout', sooner as typeof setTimeout);
    node.tell([]);
    await eventually(() => /DescribeInstances i-\w+: TimeoutError/.test(companions.problem ?? ''), 60_000);
    ec2.isSilent = false;
    await eventually(() => companions.problem === undefined);
  });

  test('a table that is not there, or not this VPC’s, is an error with its field', async (t) => {
    t.after(() => {
      ec2.areHidden = false;
    });
    const { node, companions } = await nodeIn(t);
    const says = (pattern: RegExp) => eventually(() => pattern.test(companions.problem ?? ''));
    ec2.areHidden = true;
    node.tell([]);
    await says(
      /Backend\.RouteTableID: neither subnet-\w+ nor vpc-\w+ of this instance has a route table; set it, or/,
    );
    ec2.areHidden = false;
    node.tell([], { RouteTableID: 'rtb-0123456789' });
    await says(
      /Backend\.RouteTableID: there is no rtb-0123456789 in region eu-west-1; list route tables of vpc-/,
    );
    node.tell([], { RouteTableID: [ec2.foreign] });
    await says(/Backend\.RouteTableID: rtb-\w+ is of vpc-\w+, and this instance of vpc-/);
    node.tell([], { RouteTableID: ec2.second });
    await eventually(() => companions.problem === undefined);
    assert.match(companions.warnings[0]?.what ?? '', new RegExp(`Backend.RouteTableID lacks ${ec2.table}`));
  });
});
