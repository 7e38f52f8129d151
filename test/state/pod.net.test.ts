import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import type { LocalPod } from '../../src/cluster/node.ts';
import { desiredState } from '../../src/desired/desired.ts';
import { Memo } from '../../src/desired/memo.ts';
import { parseIp } from '../../src/ip/address.ts';
import { hostCidr } from '../../src/ip/cidr.ts';
import { linkAdd, linkDelete, linkSet } from '../../src/linux/link/change.ts';
import { linkGet } from '../../src/linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { routeReplace } from '../../src/linux/route.ts';
import { podAlias } from '../../src/wiring/pod-device.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { Namespace, NO_KERNEL, Running } from './namespace.ts';

const PLAN: Plan = { size: 4, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };
const POD: LocalPod & { readonly hostDevice: string } = {
  containerId: 'c1',
  labels: {},
  ifName: 'eth0',
  hostDevice: 'cali1',
  netns: '/n',
  addresses: [parseIp('10.0.1.9')],
  wiring: 'routed',
};
/** The node's general setup for routed pods is a separate step. */
const OTHER: typeof POD = {
  ...POD,
  containerId: 'c0',
  hostDevice: 'cali0',
  addresses: [parseIp('10.0.1.8')],
};

/** Returns a function that asks for a node's usual items and these pods. */
function wanting(running: Running): (...pods: LocalPod[]) => void {
  const memo = new Memo();
  return (...pods) => running.wantAll(desiredState({ ...factsOf(PLAN), pods }, memo).contributions);
}

test('a routed pod is added and removed without a full read of the kernel', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(PLAN, [OTHER.hostDevice]);
  using running = new Running(namespace);
  using cni = NetlinkSocket.open(NETLINK_ROUTE, { netns: namespace.path });
  const want = wanting(running);
  want(OTHER);
  await running.settled();
  await sleep(600);
  running.reports.length = 0;

  // As CNI does it: the reconciler learns of it from the kernel.
  const alias = podAlias(POD);
  cni.executeSync(linkAdd({ name: 'cali1', data: { kind: 'veth', peer: { name: 'far' } }, alias }));
  const { index } = cni.getSync(linkGet('cali1'));
  cni.executeSync(linkSet(index, { up: true }));
  cni.executeSync([routeReplace({ dst: hostCidr(parseIp('10.0.1.9')), dev: index, protocol: 111 })]);
  want(OTHER, POD);
  await running.settled();
  await sleep(200);
  assert.ok(running.reports.length > 0);
  assert.deepEqual(
    running.reports.filter(({ full }) => full),
    [],
  );
  assert.deepEqual(running.reconciler.undone, []);
  assert.match(namespace.ip('-6 addr show cali1'), /fe80::ecee:eeff:feee:eeee/);

  running.reports.length = 0;
  namespace.ip('link set cali1 alias gone');
  want(OTHER);
  await running.settled();
  assert.equal(namespace.ip('route show dev cali1 proto 111'), '');
});

test('a pod that CNI has just made on the bridge costs no dump', { skip: NO_KERNEL }, async (t) => {
  using namespace = new Namespace(PLAN, []);
  using running = new Running(namespace);
  using cni = NetlinkSocket.open(NETLINK_ROUTE, { netns: namespace.path });
  const want = wanting(running);
  want();
  await running.settled();
  await sleep(600);
  const { index, mtu } = cni.getSync(linkGet('cni0'));
  const dump = t.mock.method(NetlinkSocket.prototype, 'dump');

  for (const name of ['veth1', 'veth2', 'veth3']) {
    const { wiring: _, ...pod } = { ...POD, containerId: name, hostDevice: name };
    const data = { kind: 'veth', peer: { name: `${name}-far` } } as const;
    const addrGenMode = 'none';
    const port = { hairpin: true };
    // What follows the immediates are the timers: they are due before the notifications have been read.
    await setImmediate();
    cni.executeSync(linkAdd({ name, mtu, master: index, addrGenMode, up: true, port, data }));
    want(pod);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30);
    await sleep(200);
    assert.equal(dump.mock.callCount(), 0, name);
    assert.deepEqual(running.reconciler.undone, []);
    want();
    await sleep(200);
    dump.mock.resetCalls();
  }
});

test('a pod that CNI deletes costs no dump, though the desired state follows after its device', {
  skip: NO_KERNEL,
}, async (t) => {
  using namespace = new Namespace(PLAN, []);
  let due: (() => void) | undefined;
  using running = new Running(namespace, { debounce: 300, onRun: () => due?.() });
  using cni = NetlinkSocket.open(NETLINK_ROUTE, { netns: namespace.path });
  const want = wanting(running);
  want();
  await running.settled();
  await sleep(600);
  const { index: master, mtu } = cni.getSync(linkGet('cni0'));
  const dump = t.mock.method(NetlinkSocket.prototype, 'dump');

  // When its last port has gone, the kernel gives the bridge an MTU of 1500, until someone has once set one.
  for (const when of ['unasked', 'before the next run', 'at the next run']) {
    const name = 'veth1';
    const { wiring: _, ...pod } = { ...POD, hostDevice: name };
    const data = { kind: 'veth', peer: { name: 'far' } } as const;
    const port = { hairpin: true };
    cni.executeSync(linkAdd({ name, mtu, master, addrGenMode: 'none', up: true, port, data }));
    want(pod);
    await sleep(700);
    const { index } = cni.getSync(linkGet(name));
    cni.executeSync(linkSet(index, { up: false }));
    cni.executeSync([linkDelete(index)]);
    if (when === 'at the next run') due = () => want();
    else {
      await sleep(5);
      want();
    }
    await sleep(700);
    if (when !== 'unasked') assert.equal(dump.mock.callCount(), 0, when);
    assert.deepEqual(running.reconciler.undone, []);
    due = undefined;
    dump.mock.resetCalls();
  }
});

test('damage to a pod’s device is repaired, even right after the pod was added', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(PLAN, [OTHER.hostDevice, POD.hostDevice]);
  for (const pod of [OTHER, POD]) namespace.run('ip', 'link', 'set', pod.hostDevice, 'alias', podAlias(pod));
  using running = new Running(namespace);
  const want = wanting(running);
  want(OTHER);
  await running.settled();
  want(OTHER, POD);
  for (const harm of [
    'route del 10.0.1.9',
    'link set cali1 down',
    'link set cali1 mtu 1300',
    'link set cali1 address 02:00:00:00:00:77',
    'link set cali1 down; link set cali1 name foo',
    'link set cali1 down; link set cali1 name foo; link set foo up',
    'link del cali1',
  ]) {
    await running.settled();
    for (const each of harm.split('; ')) namespace.ip(each);
    if (harm === 'link del cali1') namespace.ip('link add cali1 type veth peer name again');
    await running.settled(1500);
  }
});
