import assert from 'node:assert/strict';
import {
  FastPath,
  type FastPathSettings,
  removeAll,
} from '../../../../src/companions/udp/fast-path/fast-path.ts';
import { programsAt } from '../../../../src/companions/udp/fast-path/programs.ts';
import type { Ip } from '../../../../src/ip/address.ts';
import type { Cidr } from '../../../../src/ip/cidr.ts';
import { attachedAt } from '../../../../src/linux/bpf/tcx.ts';
import { withNetns } from '../../../../src/linux/netns.ts';
import { kernelTest, sandbox } from '../../../linux/sandbox.ts';

/** More than fit the first maps. */
const MANY = 3000;

const SETTINGS: FastPathSettings = {
  device: 'device',
  underlay: 'below',
  local: '192.0.2.1' as Ip,
  port: 8285,
  routes: [{ subnet: '10.2.0.0/24' as Cidr, node: '192.0.2.2' as Ip }],
  senders: ['192.0.2.2' as Ip],
};

kernelTest('the programs follow interfaces, peers and agents, one at a place', (t) => {
  const { netns, run, json } = sandbox(t);
  run('ip', 'link', 'add', 'below', 'type', 'veth', 'peer', 'name', 'other');
  run('ip', 'tuntap', 'add', 'device', 'mode', 'tun');
  const indexOf = (dev: string): number => Number(json('ip', '-j', 'link', 'show', 'dev', dev)[0]?.ifindex);
  const within = (use: () => void): void => withNetns(netns, use);
  const places = (underlay: string): [number[], number[]] => {
    const [dev, below] = [indexOf('device'), indexOf(underlay)];
    let found: [number[], number[]] = [[], []];
    within(() => {
      found = [[...attachedAt({ dev, side: 'egress' })], [...attachedAt({ dev: below, side: 'ingress' })]];
    });
    return found;
  };
  let path!: FastPath;
  within(() => {
    path = new FastPath();
    assert.equal(path.isOn, false);
    path.follow(SETTINGS);
    assert.equal(path.whyNot, undefined);
  });
  const first = places('below');
  assert.deepEqual(
    first.map(({ length }) => length),
    [1, 1],
  );

  const routes = Array.from({ length: MANY }, (_, i) => ({
    subnet: `10.${i >> 8}.${i & 255}.0/24` as Cidr,
    node: '192.0.2.2' as Ip,
  }));
  within(() => path.follow({ ...SETTINGS, routes: [] }));
  assert.deepEqual(places('below'), first, 'the same programs, other entries');
  within(() => path.follow({ ...SETTINGS, routes }));
  const second = places('below');
  assert.ok(second.every(([id, ...more], i) => id !== first[i]?.[0] && more.length === 0));

  // An agent that does not know the peers yet gives way to IPsec; what comes is unpacked for a while.
  within(() => path[Symbol.dispose]());
  run('ip', 'xfrm', 'policy', 'add', 'dir', 'out', 'src', '192.0.2.1', 'dst', '192.0.2.2');
  within(() => {
    path = new FastPath();
    assert.equal(path.isOn, false);
  });
  assert.deepEqual(places('below'), [[], second[1]]);
  run('ip', 'xfrm', 'policy', 'flush');
  within(() => path.follow({ ...SETTINGS, routes }));
  assert.ok(path.isOn);

  // What was refused is not tried again for each change of peers.
  run('ip', 'xfrm', 'policy', 'add', 'dir', 'out', 'src', '192.0.2.1', 'dst', '192.0.2.2');
  within(() => path.check());
  run('ip', 'xfrm', 'policy', 'flush');
  within(() => {
    path.follow(SETTINGS);
    assert.equal(path.whyNot, 'there are IPsec policies');
    path.follow({ ...SETTINGS, port: 8286 });
    assert.equal(path.whyNot, undefined);
  });

  // The next agent.
  within(() => {
    path[Symbol.dispose]();
    path = new FastPath();
    assert.equal(path.isOn, true);
    path.follow(SETTINGS);
  });
  const third = places('below');
  assert.ok(third.every(([id, ...more], i) => id !== second[i]?.[0] && more.length === 0));

  run('ip', 'link', 'delete', 'device');
  within(() => path.check());
  run('ip', 'tuntap', 'add', 'device', 'mode', 'tun');
  within(() => path.check());
  assert.ok(places('below').every(({ length }) => length === 1));
  within(() => path.follow({ ...SETTINGS, underlay: 'other' }));
  assert.deepEqual(places('below')[1], []);
  assert.ok(places('other').every(({ length }) => length === 1));

  // What peers know of this node holds for a while.
  within(() => path.follow({ ...SETTINGS, underlay: 'device' }));
  assert.equal(path.whyNot, 'device is not an Ethernet');
  assert.equal(path.isOn, false);
  const [other, device] = [indexOf('other'), indexOf('device')];
  within(() => {
    assert.deepEqual([programsAt(other), programsAt(device)], [['ingress'], []]);
    removeAll();
    assert.deepEqual(programsAt(other), []);
    path[Symbol.dispose]();
  });
});
