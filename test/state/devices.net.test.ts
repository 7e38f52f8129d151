import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { Devices } from '../../src/state/devices.ts';
import type { Plan } from '../backends/cluster.ts';
import { Namespace, NO_KERNEL } from './namespace.ts';

const PLAN: Plan = { size: 2, families: [4], backend: { Type: 'vxlan' }, networks: 1 };

test('a device renamed since it was read is absent, but its index still leads to its former name', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(PLAN, ['veth1']);
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns: namespace.path });
  const devices = new Devices(socket);
  await devices.read();
  const index = devices.indexOf('veth1');

  namespace.ip('link set veth1 down');
  namespace.ip('link set veth1 name strange');
  devices.refresh(['veth1']);
  assert.ok(!devices.byName.has('veth1'));
  assert.equal(devices.nameOf(index), 'veth1');

  namespace.ip('link add veth1 type veth peer name other');
  devices.refresh(['veth1', 'strange']);
  assert.notEqual(devices.indexOf('veth1'), index);
  assert.equal(devices.nameOf(index), 'strange');
});
