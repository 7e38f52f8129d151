import assert from 'node:assert/strict';
import { parseIp } from '../../../src/ip/address.ts';
import { linkAdd, linkDelete, linkSet } from '../../../src/linux/link/change.ts';
import { linkGet } from '../../../src/linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../../src/linux/netlink/socket.ts';
import { kernelTest, sandbox } from '../sandbox.ts';

kernelTest('the module creates tunl0, which can be set up, but neither changed nor deleted', async (t) => {
  const { netns, json } = sandbox(t);
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  await assert.rejects(socket.execute(linkAdd({ name: 'tunl0', data: { kind: 'ipip' } })), {
    errno: 'EEXIST',
  });
  const made = await socket.get(linkGet('tunl0'));
  assert.deepEqual(
    [made.kind, made.up, made.mac, made.data],
    [
      'ipip',
      false,
      undefined,
      { kind: 'ipip', local: undefined, remote: undefined, dev: undefined, ttl: 0, pmtudisc: false },
    ],
  );
  await socket.execute(linkSet(made.index, { up: true, mtu: 1380, alias: 'flatnet ipip' }));
  const [shown = {}] = json('ip', '-d', '-j', 'link', 'show', 'tunl0');
  assert.deepEqual(
    [shown.mtu, shown.ifalias, shown.link_type, (shown.flags as string[]).includes('UP')],
    [1380, 'flatnet ipip', 'ipip', true],
  );
  await assert.rejects(
    socket.execute(linkSet(made.index, { data: { kind: 'ipip', ttl: 9, pmtudisc: true } })),
    {
      errno: 'EINVAL',
    },
  );
  await socket.execute([linkDelete(made.index)]);
  assert.equal((await socket.get(linkGet('tunl0'))).index, made.index);
});

kernelTest('a tunnel with two endpoints matches `ip -d link`', async (t) => {
  const { netns, json } = sandbox(t);
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  await socket.execute(linkAdd({ name: 'u0', up: true, data: { kind: 'bridge' } }));
  const { index: dev } = await socket.get(linkGet('u0'));
  const [local, remote] = [parseIp('10.0.0.1'), parseIp('10.0.0.2')];
  const data = { kind: 'ipip', local, remote, dev, ttl: 9, pmtudisc: true } as const;
  await socket.execute(linkAdd({ name: 'ipip0', mtu: 1400, up: true, data }));
  assert.deepEqual((await socket.get(linkGet('ipip0'))).data, data);
  const [shown = {}] = json('ip', '-d', '-j', 'link', 'show', 'ipip0');
  const info = (shown.linkinfo as { info_data: Record<string, unknown> }).info_data;
  assert.deepEqual(
    [shown.mtu, info.local, info.remote, info.ttl, info.pmtudisc],
    [1400, local, remote, 9, true],
  );
  const changed = { ...data, remote: parseIp('10.0.0.3'), ttl: 0, pmtudisc: false };
  const { index } = await socket.get(linkGet('ipip0'));
  await socket.execute(linkSet(index, { data: changed }));
  assert.deepEqual((await socket.get(linkGet('ipip0'))).data, changed);
  await socket.execute([linkDelete(index)]);
  await assert.rejects(socket.get(linkGet('ipip0')), { errno: 'ENODEV' });
});
