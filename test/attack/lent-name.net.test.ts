import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ipipMember, ipipTable } from '../../src/backends/bgp-tunnel.ts';
import { memberElements, membersTable } from '../../src/backends/members.ts';
import type { Node } from '../../src/cluster/node.ts';
import { parseIp } from '../../src/ip/address.ts';
import { createNetns, deleteNetns, netnsPath } from '../../src/linux/netns.ts';
import type { Item } from '../../src/state/item.ts';
import { command } from '../../src/state/print.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { frame, PROTOCOL, packet, TYPE, udp } from './packets.ts';
import { Wire } from './wire.ts';

const OWN = '172.16.0.2';
const PEER = '172.16.0.3';
const CONTAINER = '10.88.0.7';
const HOST_MAC = '02:00:00:00:00:01';
const NODES: readonly Node[] = [OWN, PEER].map((ip) => ({
  name: ip,
  labels: {},
  addresses: { 4: parseIp(ip) },
  subnets: [],
  backend: { type: 'vxlan', data: {} },
}));
const IPIP = 4;
const PACKETS = { type: 'vxlan', udp: 8472 } as const;

/** A node between a container of another program, which it masquerades, and another node. */
class Lender implements Disposable {
  readonly #names = ['host', 'box', 'peer'].map((what) => `fn-lent-${process.pid}-${what}`);

  constructor() {
    for (const name of this.#names) createNetns(name);
    const [host, box, peer] = this.#names;
    this.ip('host', `link add docker0 address ${HOST_MAC} type veth peer name eth0 netns ${box}`);
    this.ip('host', `link add eth0 type veth peer name eth0 netns ${peer}`);
    for (const [where, dev, address] of [
      ['host', 'docker0', '10.88.0.1/24'],
      ['host', 'eth0', `${OWN}/16`],
      ['box', 'eth0', `${CONTAINER}/24`],
      ['peer', 'eth0', `${PEER}/16`],
    ] as const) {
      this.ip(where, `address add ${address} dev ${dev}`);
      this.ip(where, `link set ${dev} up`);
    }
    execFileSync('ip', ['netns', 'exec', `${host}`, 'sysctl', '-qw', 'net/ipv4/ip_forward=1']);
    this.sh('nft add table ip docker');
    this.sh("nft 'add chain ip docker post { type nat hook postrouting priority srcnat; }'");
    this.sh('nft add rule ip docker post ip saddr 10.88.0.0/24 oifname eth0 masquerade');
  }

  netns(what: 'box' | 'peer'): string {
    return netnsPath(this.#name(what));
  }

  ip(where: string, text: string): void {
    execFileSync('ip', ['-n', this.#name(where), ...text.split(' ')], { stdio: 'pipe' });
  }

  sh(text: string): void {
    execFileSync('ip', ['netns', 'exec', this.#name('host'), 'sh', '-c', text], { stdio: 'pipe' });
  }

  want(items: readonly Item[]): void {
    for (const item of items) this.sh(command(item, 'add'));
  }

  #name(what: string): string {
    return this.#names.find((name) => name.endsWith(`-${what}`)) ?? '';
  }

  [Symbol.dispose](): void {
    for (const name of this.#names) deleteNetns(name);
  }
}

test('a node lends its address to no tunnel packet, whoever sends it', { skip: NO_KERNEL }, async (t) => {
  const kinds: readonly { name: string; packet: (mark: Buffer) => Buffer; guard: readonly Item[] }[] = [
    {
      name: 'VXLAN',
      packet: (mark) => packet(CONTAINER, PEER, PROTOCOL.udp, udp(CONTAINER, PEER, [40000, 8472], mark)),
      guard: [membersTable(4, PACKETS), ...NODES.flatMap((node) => memberElements(node, 4, PACKETS))],
    },
    {
      name: 'IPIP',
      packet: (mark) => packet(CONTAINER, PEER, IPIP, mark),
      guard: [...ipipTable(), ...NODES.flatMap(ipipMember)],
    },
  ];
  for (const { name, packet, guard } of kinds) {
    await t.test(name, async () => {
      using lender = new Lender();
      using box = new Wire(lender.netns('box'), 'eth0');
      using peer = new Wire(lender.netns('peer'), 'eth0');
      const mac = /link\/ether (\S+)/.exec(
        execFileSync('nsenter', [`--net=${lender.netns('box')}`, 'ip', 'link', 'show', 'eth0'], {
          encoding: 'utf8',
        }),
      )?.[1];
      const arrives = async (within: number): Promise<boolean> => {
        const mark = randomBytes(32);
        box.send(frame(HOST_MAC, mac ?? '', TYPE.ip, packet(mark)));
        for (const end = performance.now() + within; performance.now() < end; ) {
          await sleep(10);
          if (peer.received().some((bytes) => bytes.includes(mark) && bytes.includes(OWN_BYTES))) return true;
        }
        return false;
      };
      assert.ok(await arrives(3000), 'without the guard, it arrives with the node’s address');
      lender.want(guard);
      assert.ok(!(await arrives(100)));
    });
  }
});

const OWN_BYTES = Buffer.from(OWN.split('.').map(Number));
