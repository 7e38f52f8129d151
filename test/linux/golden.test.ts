import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr, parsePrefixed } from '../../src/ip/cidr.ts';
import { parseMac } from '../../src/ip/mac.ts';
import { addressReplace, IFA_F_NODAD } from '../../src/linux/address.ts';
import { type Fdb, fdbDelete, fdbReplace } from '../../src/linux/fdb.ts';
import { linkAdd, linkDelete, linkSet } from '../../src/linux/link/change.ts';
import { NUD_PERMANENT, neighbourReplace } from '../../src/linux/neighbour.ts';
import { attributesIn, type Request } from '../../src/linux/netlink/message.ts';
import { routeAdd, routeDelete, routeReplace } from '../../src/linux/route.ts';
import { ruleAdd } from '../../src/linux/rule.ts';
import { fdbAppend, IFA_F_NOPREFIXROUTE, NUD_NOARP } from './beyond.ts';

// The messages iproute2 6.1 sends for each command, according to strace: type and flags, then the payload.
// Ours must be equivalent; the order of attributes and the nested flag have no meaning.

const ip = parseIp;
const net = parseCidr;
const mac = parseMac;
const bridge = 2;
const vxlan = 3;
// bridge(8) marks static entries this way; flannel and flatnet set NUD_PERMANENT alone, which is displayed
// the same.
const fdb: Fdb = {
  dev: vxlan,
  mac: mac('12:c6:65:89:b4:e3'),
  dst: ip('10.0.0.2'),
  state: NUD_PERMANENT | NUD_NOARP,
};

const commands: [command: string, sent: string, ours: Request[]][] = [
  [
    'ip route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink',
    '1800050502180000fe03000104000000080001000af40100080005000af401000800040003000000',
    [routeReplace({ dst: net('10.244.1.0/24'), via: ip('10.244.1.0'), dev: vxlan, onlink: true })],
  ],
  [
    'ip route add 10.9.0.0/16 via 10.0.0.7 metric 50 table 300 mtu 1400 proto 110',
    '1800050602100000006e000100000000080001000a090000080005000a000007080006003200000008000f002c0100000c0008000800020078050000',
    [
      routeAdd({
        dst: net('10.9.0.0/16'),
        via: ip('10.0.0.7'),
        metric: 50,
        table: 300,
        mtu: 1400,
        protocol: 110,
      }),
    ],
  ],
  [
    'ip route replace blackhole 10.244.0.0/16 proto 111',
    '1800050502100000fe6f000600000000080001000af40000',
    [routeReplace({ dst: net('10.244.0.0/16'), type: 'blackhole', protocol: 111 })],
  ],
  [
    'ip route add 10.8.0.0/24 dev br0 src 10.0.0.1',
    '1800050602180000fe03fd0100000000080001000a080000080007000a0000010800040002000000',
    [routeAdd({ dst: net('10.8.0.0/24'), dev: bridge, src: ip('10.0.0.1') })],
  ],
  [
    'ip route replace fd01::/64 via fd00::5 dev br0 onlink',
    '180005050a400000fe0300010400000014000100fd01000000000000000000000000000014000500fd0000000000000000000000000000050800040002000000',
    [routeReplace({ dst: net('fd01::/64'), via: ip('fd00::5'), dev: bridge, onlink: true })],
  ],
  [
    'ip route add 10.7.0.0/24 nexthop via 10.0.0.5 dev br0 weight 2 nexthop via 10.0.0.6 dev br0 onlink',
    '1800050602180000fe03000100000000080001000a070000240009001000000102000000080005000a0000051000040002000000080005000a000006',
    [
      routeAdd({
        dst: net('10.7.0.0/24'),
        nexthops: [
          { via: ip('10.0.0.5'), dev: bridge, weight: 2 },
          { via: ip('10.0.0.6'), dev: bridge, onlink: true },
        ],
      }),
    ],
  ],
  [
    'ip route del 10.8.0.0/24',
    '1900050002180000fe00ff0000000000080001000a080000',
    [routeDelete({ dst: net('10.8.0.0/24') })],
  ],
  [
    'ip neigh replace 10.244.1.0 lladdr 12:c6:65:89:b4:e3 nud permanent dev flannel.1',
    '1c000505020000000300000080000000080001000af401000a00020012c66589b4e30000',
    [neighbourReplace({ dev: vxlan, ip: ip('10.244.1.0'), mac: mac('12:c6:65:89:b4:e3') })],
  ],
  [
    'bridge fdb replace 12:c6:65:89:b4:e3 dst 10.0.0.2 self permanent dev flannel.1',
    '1c0005050700000003000000c00002000a00020012c66589b4e30000080001000a000002',
    [fdbReplace(fdb)],
  ],
  [
    'bridge fdb append 00:00:00:00:00:00 dst 10.0.0.3 port 4789 vni 7 self permanent dev flannel.1',
    '1c00050c0700000003000000c00002000a0002000000000000000000080001000a0000030600060012b500000800070007000000',
    [fdbAppend({ ...fdb, mac: mac('00:00:00:00:00:00'), dst: ip('10.0.0.3'), port: 4789, vni: 7 })],
  ],
  [
    'bridge fdb del 12:c6:65:89:b4:e3 dst 10.0.0.2 self dev flannel.1',
    '1d0005000700000003000000c00002000a00020012c66589b4e30000080001000a000002',
    [fdbDelete(fdb)],
  ],
  [
    'ip addr replace 10.0.0.9/24 dev br0',
    '140005050218000002000000080002000a000009080001000a000009',
    [addressReplace({ dev: bridge, address: parsePrefixed('10.0.0.9/24') })],
  ],
  [
    'ip addr replace fd00::9/64 dev br0 nodad noprefixroute',
    '140005050a4000000200000014000200fd000000000000000000000000000009080008000202000014000100fd000000000000000000000000000009',
    [
      addressReplace({
        dev: bridge,
        address: parsePrefixed('fd00::9/64'),
        flags: IFA_F_NODAD | IFA_F_NOPREFIXROUTE,
      }),
    ],
  ],
  [
    'ip rule add from 10.0.0.0/24 to 10.1.0.0/16 iif br0 fwmark 0x4000/0x4000 priority 100 table 300 proto 110',
    '20000506021018000000000100000000080002000a000000080001000a010000080003006272300008000a00004000000800100000400000080006006400000008000f002c010000050015006e000000',
    [
      ruleAdd({
        family: 4,
        from: net('10.0.0.0/24'),
        to: net('10.1.0.0/16'),
        iif: 'br0',
        mark: 0x4000,
        mask: 0x4000,
        priority: 100,
        table: 300,
        protocol: 110,
      }),
    ],
  ],
  [
    'ip link set br0 mtu 1400 alias hello',
    '100005000000000002000000000000000000000008000400780500000900140068656c6c6f000000',
    linkSet(bridge, { mtu: 1400, alias: 'hello' }),
  ],
  [
    'ip link add flannel.2 address 02:00:00:00:00:04 mtu 1450 type vxlan id 2 local 10.0.0.1 dev br0 dstport 8472 nolearning noudpcsum',
    '10000506000000000000000000000000000000000a000100020000000004000008000400aa0500000e000300666c616e6e656c2e32000000440012000900010076786c616e00000034000200080003000200000005001200000000000800010002000000080004000a000001050007000000000006000f0021180000',
    linkAdd({
      name: 'flannel.2',
      mac: mac('02:00:00:00:00:04'),
      mtu: 1450,
      data: {
        kind: 'vxlan',
        id: 2,
        local: ip('10.0.0.1'),
        dev: bridge,
        port: 8472,
        learning: false,
        udpChecksum: false,
      },
    }),
  ],
  [
    'ip link add br1 address 02:00:00:00:00:05 type bridge stp_state 0 mcast_snooping 0',
    '10000506000000000000000000000000000000000a00010002000000000500000800030062723100240012000a00010062726964676500001400020008000500000000000500170000000000',
    linkAdd({
      name: 'br1',
      mac: mac('02:00:00:00:00:05'),
      data: { kind: 'bridge', stp: false, multicastSnooping: false },
    }),
  ],
  [
    'ip link add v0 mtu 1400 type veth peer name v1 address 02:00:00:00:00:06',
    '1000050600000000000000000000000000000000080004007805000007000300763000003800120008000100766574682c00020028000100000000000000000000000000000000000a00010002000000000600000700030076310000',
    linkAdd({
      name: 'v0',
      mtu: 1400,
      data: { kind: 'veth', peer: { name: 'v1', mac: mac('02:00:00:00:00:06') } },
    }),
  ],
  [
    'ip link set v0 master br1 up',
    '100005000000000007000000010000000100000008000a0005000000',
    linkSet(7, { master: 5, up: true }),
  ],
  [
    'ip link set br1 addrgenmode none',
    '100005000000000005000000000000000000000010001a000c000a000500080001000000',
    linkSet(5, { addrGenMode: 'none' }),
  ],
  ['ip link del dev br1', '1100050000000000050000000000000000000000', [linkDelete(5)]],
];

for (const [command, sent, ours] of commands) {
  test(command, () => {
    assert.deepEqual(ours.map(meaning), [meaning(parse(sent))]);
  });
}

type Sent = Pick<Request, 'type' | 'flags' | 'payload'>;

/** Sizes of the fixed headers, by message type without its last two bits (new, delete, get or set). */
const HEADERS: Readonly<Record<number, number>> = { 16: 16, 20: 8, 24: 12, 28: 12, 32: 12 };
/**
 * Nested attributes, by message type and path: IFLA_LINKINFO with data, IFLA_AF_SPEC,
 * RTA_METRICS.
 */
const NESTED = new Set(['16/18', '16/18/2', '16/18/5', '16/26', '16/26/10', '24/8']);

function parse(hex: string): Sent {
  const bytes = Buffer.from(hex, 'hex');
  return { type: bytes.readUInt16LE(0), flags: bytes.readUInt16LE(2), payload: bytes.subarray(4) };
}

function meaning({ type, flags, payload }: Sent): unknown {
  const kind = type & ~3;
  const size = HEADERS[kind] ?? 0;
  const REQUEST_AND_ACK = 5;
  return {
    type,
    flags: flags | REQUEST_AND_ACK,
    header: payload.toString('hex', 0, size),
    attributes: tree(payload.subarray(size), `${kind}`),
  };
}

function tree(bytes: Buffer, path: string): string[] {
  return [...attributesIn(bytes)]
    .map(([type, content]) => {
      const here = `${path}/${type}`;
      return `${type}=${NESTED.has(here) ? `{${tree(content, here).join(' ')}}` : content.toString('hex')}`;
    })
    .sort();
}
