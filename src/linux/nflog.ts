import type { Family } from '../ip/address.ts';
import { ipFamily } from './netlink/family.ts';
import { NetlinkListener } from './netlink/listener.ts';
import { attributesOf, type Message, messagesOf, type Request, stringOf, Writer } from './netlink/message.ts';
import { NETLINK_NETFILTER } from './netlink/socket.ts';

/** linux/netfilter/nfnetlink.h and nfnetlink_log.h. */
const NFNL_SUBSYS_ULOG = 4;
const NFULNL_MSG_PACKET = 0;
const NFULNL_MSG_CONFIG = 1;
const NFGENMSG_SIZE = 4;
const NFULA_CFG_CMD = 1;
const NFULA_CFG_MODE = 2;
const NFULA_CFG_TIMEOUT = 4;
const NFULA_CFG_FLAGS = 6;
const NFULNL_CFG_F_SEQ = 1;
const NFULNL_CFG_CMD_BIND = 1;
const NFULNL_COPY_PACKET = 2;
const NFULA_IFINDEX_INDEV = 4;
const NFULA_IFINDEX_PHYSINDEV = 6;
const NFULA_PAYLOAD = 9;
const NFULA_PREFIX = 10;
const NFULA_SEQ = 12;

export type NflogOptions = {
  /** A path or a descriptor of a network namespace, whose groups are its own; by default the thread's own. */
  readonly netns?: string | number | undefined;
  /** 0 to 65535. A group has one listener. */
  readonly group: number;
  /** How many bytes of each packet to copy, from its IP header on. */
  readonly bytes: number;
  /** Milliseconds for which the kernel may gather packets, in steps of ten. Default: 1000. */
  readonly delay?: number;
  readonly signal: AbortSignal;
};

/** A packet that a rule has logged. */
export type LoggedPacket = {
  readonly family: Family;
  /** The rule's. */
  readonly prefix: string;
  /** The index of the device that it came by: of a bridge, the port. Absent: this host made it. */
  readonly device: number | undefined;
  /** The beginning of the packet. Valid only during the call. */
  readonly packet: Buffer;
};

/** How many packets the kernel could not pass on, between two that it could. */
export type LostPackets = { readonly lost: number };

/** Receives what rules like `log prefix "denied" group 7` log, like `tcpdump -i nflog:7` or ulogd. */
export class Nflog {
  readonly #listener: NetlinkListener;

  private constructor(listener: NetlinkListener) {
    this.#listener = listener;
  }

  /**
   * Binds to a group: what is logged there while nobody listens is lost. Throws NETLINK: EPERM also if
   * another program has the group, other errors without nfnetlink_log.
   */
  static open({ netns, group, bytes, delay, signal }: NflogOptions): Nflog {
    const setup = [bind(group), settings(group, bytes, delay)];
    // What is lost shows in the packets' numbers; what was queued before must be read all the same.
    const options = { netns, signal, setup, ignoresOverruns: true };
    return new Nflog(NetlinkListener.open(NETLINK_NETFILTER, options));
  }

  /**
   * Calls `listener` with each packet, and before one with the number of those that are lost, until the
   * signal aborts. Rejects if the listener throws.
   */
  run(listener: (packet: LoggedPacket | LostPackets) => void): Promise<void> {
    let next = 0;
    return this.#listener.run((datagram) => {
      // Absent with ignoresOverruns.
      if (datagram === 'overflow') return;
      for (const message of messagesOf(datagram)) {
        const packet = decode(message);
        if (!packet) continue;
        const lost = (packet.number - next) >>> 0;
        if (lost > 0) listener({ lost });
        next = packet.number + 1;
        listener(packet);
      }
    });
  }
}

function bind(group: number): Request {
  return request('bind', group, (writer) => writer.u8(NFULA_CFG_CMD, NFULNL_CFG_CMD_BIND));
}

function settings(group: number, bytes: number, delay: number | undefined): Request {
  // struct nfulnl_msg_config_mode: be32 copy_range, u8 copy_mode, u8 padding.
  const mode = Buffer.alloc(6);
  mode.writeUInt32BE(bytes, 0);
  mode.writeUInt8(NFULNL_COPY_PACKET, 4);
  const ticks = delay === undefined ? undefined : Math.max(1, Math.round(delay / 10));
  return request('configure', group, (writer) =>
    writer.bytes(NFULA_CFG_MODE, mode).be32(NFULA_CFG_TIMEOUT, ticks).be16(NFULA_CFG_FLAGS, NFULNL_CFG_F_SEQ),
  );
}

function request(operation: string, group: number, fill: (writer: Writer) => Writer): Request {
  const writer = new Writer().header(NFGENMSG_SIZE, (header) => {
    header.writeUInt16BE(group, 2);
  });
  return {
    operation: `nflog ${operation}`,
    object: `group ${group}`,
    type: (NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_CONFIG,
    flags: 0,
    payload: fill(writer).finish(),
  };
}

function decode({ type, payload }: Message): (LoggedPacket & { readonly number: number }) | undefined {
  if (type !== ((NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_PACKET)) return undefined;
  // For IPv4 and IPv6, NFPROTO_* are AF_*.
  const family = ipFamily(payload.readUInt8(0));
  const attributes = attributesOf(payload, NFGENMSG_SIZE);
  const packet = attributes.get(NFULA_PAYLOAD);
  if (!packet || family === undefined) return undefined;
  const device = attributes.get(NFULA_IFINDEX_PHYSINDEV) ?? attributes.get(NFULA_IFINDEX_INDEV);
  return {
    number: attributes.get(NFULA_SEQ)?.readUInt32BE() ?? 0,
    family,
    prefix: stringOf(attributes.get(NFULA_PREFIX) ?? Buffer.alloc(0)),
    device: device?.readUInt32BE(),
    packet,
  };
}
