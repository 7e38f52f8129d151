import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FAMILIES, familyOf, type Ip } from '../../../src/ip/address.ts';
import { addressFamily } from '../../../src/linux/netlink/family.ts';
import { withNetns } from '../../../src/linux/netns.ts';
import { sockaddr } from '../../../src/linux/sockaddr.ts';
import * as sys from '../../../src/linux/sys.ts';
import { UdpSocket } from '../../../src/linux/udp.ts';
import { REMEMBERED } from '../../../src/policy/flows/table.ts';
import { problemText } from '../../../src/problem.ts';
import { PODS, PODS6 } from '../../policy/routed-node.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { eventually } from '../../store/servers.ts';
import { PolicedNode } from './node.ts';

const BEFORE = { 0: 'friend', 1: 'isolated', 2: 'friend' };
const AFTER = { 1: 'isolated', 2: 'friend' };
const GRE = 47;
/** Of those for experiments (RFC 3692): the kernel knows nothing of it. */
const EXPERIMENT = 253;
const PORT = 4000;

for (const family of FAMILIES)
  for (const protocol of [GRE, EXPERIMENT])
    test(`IPv${family}: by protocol ${protocol}, nothing goes on from the other end`, {
      skip: NO_KERNEL,
    }, async (t) => {
      const policed = new PolicedNode(t);
      const [client, server, friend] = family === 4 ? PODS : PODS6;
      assert.ok(client && server && friend);
      using stack = new DisposableStack();
      const open = (ip: Ip): RawSocket => stack.use(new RawSocket(policed.node.at(ip), ip, protocol));
      const [at, from, other] = [open(server), open(client), open(friend)];
      const arrives = async (sender: RawSocket, to: Ip, receiver: RawSocket): Promise<boolean> => {
        sender.send(to);
        await sleep(100);
        return receiver.received() > 0;
      };
      const both = async (socket: RawSocket, ip: Ip): Promise<readonly boolean[]> => [
        await arrives(socket, server, at),
        await arrives(at, ip, socket),
      ];
      await policed.become(BEFORE);
      assert.deepEqual(await both(from, client), [true, true]);
      assert.deepEqual(await both(other, friend), [true, true]);
      await policed.become(AFTER);
      await eventually(async () =>
        (await policed.connections(server)).every(({ source }) => source !== client),
      );
      assert.deepEqual(await both(from, client), [false, false]);
      assert.deepEqual(await both(from, client), [false, false]);
      assert.deepEqual(await both(other, friend), [true, true]);
      await policed.become(BEFORE);
      assert.deepEqual(await both(from, client), [true, true]);
    });

test('an ended connection is remembered as long as its other end speaks', {
  skip: NO_KERNEL,
}, async (t) => {
  const policed = new PolicedNode(t);
  const [client, server] = PODS;
  assert.ok(client && server);
  const at = { ip: server, port: PORT };
  using from = UdpSocket.open(policed.node.at(client), { ip: client, port: PORT + 1 });
  using to = UdpSocket.open(policed.node.at(server), at);
  await policed.become(BEFORE);
  from.send(Buffer.from('hello'), at);
  await eventually(() => to.receive() !== undefined);
  await policed.become(AFTER);
  const left = () => secondsLeft(policed.node.name, 'datagrams');
  await eventually(async () => (await policed.connections(server)).length === 0);
  const all = REMEMBERED.datagrams / 1000;
  await eventually(() => left() <= all - 2, 10_000);
  to.send(Buffer.from('still here'), { ip: client, port: PORT + 1 });
  await eventually(() => left() > all - 2);
  assert.equal(from.receive(), undefined);
});

test('where there is no room for ports, the ends are remembered, and else the status says so', {
  skip: NO_KERNEL,
}, async (t) => {
  const policed = new PolicedNode(t);
  const [client, server] = PODS;
  assert.ok(client && server);
  await policed.become(BEFORE);
  const talk = async (port: number): Promise<UdpSocket> => {
    using from = UdpSocket.open(policed.node.at(client), { ip: client, port: port + 1 });
    const to = UdpSocket.open(policed.node.at(server), { ip: server, port });
    from.send(Buffer.from('hello'), { ip: server, port });
    await eventually(() => to.receive() !== undefined);
    return to;
  };
  const goesOn = async (to: UdpSocket, port: number): Promise<boolean> => {
    using from = UdpSocket.open(policed.node.at(client), { ip: client, port: port + 1 });
    to.send(Buffer.from('still here'), { ip: client, port: port + 1 });
    await sleep(100);
    return from.receive() !== undefined;
  };
  using first = await talk(PORT);
  await policed.fillEnded('datagrams');
  await policed.become(AFTER);
  await eventually(async () => (await policed.connections(server)).length === 0);
  assert.equal(await goesOn(first, PORT), false);
  assert.deepEqual(policed.cut.problems, []);

  await policed.become(BEFORE);
  using second = await talk(PORT + 10);
  policed.node.run('nft', 'flush', 'set', 'ip', 'flatnet-ended', 'pairs');
  await policed.fillEnded('pairs');
  await policed.become(AFTER);
  await eventually(() => policed.cut.problems.length > 0);
  assert.match(policed.cut.problems.map(problemText).join(), /may go on.*10\.0\.0\.2: .*65536.*; restart/);
  await eventually(async () => (await policed.connections(server)).length === 0);
  assert.equal(await goesOn(second, PORT + 10), true, 'it is true');
  policed.cut.leave({ addresses: [server] });
  assert.deepEqual(policed.cut.problems, []);
});

/** Until the only element of a set goes. */
function secondsLeft(netns: string, set: string): number {
  const command = ['netns', 'exec', netns, 'nft', '-j', 'list', 'set', 'ip', 'flatnet-ended', set];
  const { nftables } = JSON.parse(execFileSync('ip', command, { encoding: 'utf8' }));
  return nftables.at(-1).set.elem[0].elem.expires;
}

/** A socket of any protocol. */
class RawSocket implements Disposable {
  readonly #fd: number;
  /** Nothing else sends it. */
  readonly #text = Buffer.from('\0\0\x08\0hello');

  constructor(netns: string, ip: Ip, protocol: number) {
    const type = sys.SOCK_RAW | sys.SOCK_CLOEXEC | sys.SOCK_NONBLOCK;
    this.#fd = withNetns(netns, () => sys.socket(addressFamily(familyOf(ip)), type, protocol));
    sys.bind(this.#fd, sockaddr(ip));
  }

  send(to: Ip): void {
    sys.sendto(this.#fd, this.#text, 0, sockaddr(to));
  }

  /** How many have come. */
  received(): number {
    const buffer = Buffer.alloc(2048);
    for (let count = 0; ; count++) if (sys.recvfrom(this.#fd, buffer, 0) === undefined) return count;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
