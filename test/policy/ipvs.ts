import { execFileSync } from 'node:child_process';
import { type Ip, ipToBytes } from '../../src/ip/address.ts';
import { attributesOf, type Message, Writer } from '../../src/linux/netlink/message.ts';
import { NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { UDP } from '../../src/policy/model/traffic.ts';

const NETLINK_GENERIC = 16;
/** linux/genetlink.h. */
const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;
const GENL_HEADER = 4;
/** linux/ip_vs.h. */
const NEW_SERVICE = 1;
const NEW_DEST = 5;
const SERVICE = 1;
const DEST = 2;
const AF_INET = 2;

type Socket = { readonly ip: Ip; readonly port: number };

/** Leads a Service's datagrams to one server, by address translation: `ipvsadm -A -u …; ipvsadm -a … -m`. */
export async function balance(netns: string, service: Socket, server: Socket): Promise<void> {
  execFileSync('modprobe', ['-a', 'ip_vs', 'ip_vs_rr']);
  using socket = NetlinkSocket.open(NETLINK_GENERIC, { netns });
  const family = await socket.get({
    ...request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, (writer) => writer.string(CTRL_ATTR_FAMILY_NAME, 'IPVS')),
    decode: ({ payload }: Message) =>
      attributesOf(payload, GENL_HEADER).get(CTRL_ATTR_FAMILY_ID)?.readUInt16LE(),
  });
  if (family === undefined) throw new Error('no IPVS');
  const id = (writer: Writer): void =>
    void writer.u16(1, AF_INET).u16(2, UDP).bytes(3, address(service.ip)).be16(4, service.port);
  await socket.execute([
    request(family, NEW_SERVICE, (writer) =>
      writer.nested(SERVICE, (nest) => {
        id(nest);
        nest
          .string(6, 'rr')
          .bytes(7, Buffer.from([0, 0, 0, 0, 255, 255, 255, 255]))
          .u32(8, 0)
          .be32(9, 0xffffffff);
      }),
    ),
    request(family, NEW_DEST, (writer) =>
      writer.nested(SERVICE, id).nested(DEST, (nest) => {
        nest
          .bytes(1, address(server.ip))
          .be16(2, server.port)
          .u32(3, 0)
          .u32(4, 1)
          .u32(5, 0)
          .u32(6, 0)
          .u16(11, AF_INET);
      }),
    ),
  ]);
}

function address(ip: Ip): Buffer {
  return Buffer.concat([ipToBytes(ip), Buffer.alloc(12)]);
}

function request(type: number, command: number, fill: (writer: Writer) => Writer) {
  const writer = new Writer().header(GENL_HEADER, (header) => {
    header[0] = command;
    header[1] = 1;
  });
  return { operation: 'ipvs', object: `command ${command}`, type, flags: 0, payload: fill(writer).finish() };
}
