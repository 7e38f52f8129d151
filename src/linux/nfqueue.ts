import { NetlinkListener } from './netlink/listener.ts';
import { attributesOf, type Message, messagesOf, type Request, Writer } from './netlink/message.ts';
import { NETLINK_NETFILTER } from './netlink/socket.ts';

/** linux/netfilter/nfnetlink.h, nfnetlink_queue.h and netfilter.h. */
const NFNL_SUBSYS_QUEUE = 3;
const NFQNL_MSG_PACKET = 0;
const NFQNL_MSG_VERDICT = 1;
const NFQNL_MSG_CONFIG = 2;
const NFGENMSG_SIZE = 4;
const NFQA_CFG_CMD = 1;
const NFQA_CFG_PARAMS = 2;
const NFQA_CFG_MASK = 4;
const NFQA_CFG_FLAGS = 5;
const NFQNL_CFG_CMD_BIND = 1;
const NFQNL_COPY_PACKET = 2;
const NFQA_CFG_F_FAIL_OPEN = 1;
const NFQA_PACKET_HDR = 1;
const NFQA_VERDICT_HDR = 2;
const NFQA_PAYLOAD = 10;
const NF_ACCEPT = 1;

export type NfqueueOptions = {
  /** A path or a descriptor of a network namespace, whose queues are its own; by default the thread's own. */
  readonly netns?: string | number | undefined;
  /** 0 to 65535. A queue has one listener. */
  readonly queue: number;
  /** How many bytes of each packet to copy, from its IP header on. */
  readonly bytes: number;
  readonly signal: AbortSignal;
};

/** A packet that waits for its verdict. */
export type QueuedPacket = {
  readonly id: number;
  /** The beginning of the packet. Valid only during the call. */
  readonly packet: Buffer;
};

/**
 * Holds what rules like `queue num 7 bypass` send to user space. Where packets come faster than they are
 * read, or more than 1024 wait, those that do not find room go on as if accepted. When it ends, those that
 * wait are dropped.
 */
export class Nfqueue {
  readonly #listener: NetlinkListener;
  readonly #queue: number;

  private constructor(listener: NetlinkListener, queue: number) {
    this.#listener = listener;
    this.#queue = queue;
  }

  /** Binds to a queue. Throws NETLINK: EBUSY if another program has it, others without nfnetlink_queue. */
  static open({ netns, queue, bytes, signal }: NfqueueOptions): Nfqueue {
    const setup = [bind(queue), settings(queue, bytes)];
    // An overrun is no error: what waits in the socket must be read, as it waits for a verdict.
    const options = { netns, signal, setup, ignoresOverruns: true };
    return new Nfqueue(NetlinkListener.open(NETLINK_NETFILTER, options), queue);
  }

  /** Calls `listener` with each packet until the signal aborts. Rejects if the listener throws. */
  run(listener: (packet: QueuedPacket) => void): Promise<void> {
    return this.#listener.run((datagram) => {
      if (datagram === 'overflow') return;
      for (const message of messagesOf(datagram)) {
        const packet = decode(message);
        if (packet) listener(packet);
      }
    });
  }

  /** Lets a packet go on. Nothing happens if it waits no more. */
  accept(id: number): void {
    const verdict = Buffer.alloc(8);
    verdict.writeUInt32BE(NF_ACCEPT, 0);
    verdict.writeUInt32BE(id, 4);
    this.#listener.send(
      request('verdict', this.#queue, NFQNL_MSG_VERDICT, (writer) => writer.bytes(NFQA_VERDICT_HDR, verdict)),
    );
  }
}

function bind(queue: number): Request {
  // struct nfqnl_msg_config_cmd: u8 command, u8 padding, be16 protocol family, which no longer matters.
  const command = Buffer.from([NFQNL_CFG_CMD_BIND, 0, 0, 0]);
  return request('bind', queue, NFQNL_MSG_CONFIG, (writer) => writer.bytes(NFQA_CFG_CMD, command));
}

function settings(queue: number, bytes: number): Request {
  // struct nfqnl_msg_config_params: be32 copy_range, u8 copy_mode.
  const params = Buffer.alloc(5);
  params.writeUInt32BE(bytes, 0);
  params.writeUInt8(NFQNL_COPY_PACKET, 4);
  return request('configure', queue, NFQNL_MSG_CONFIG, (writer) =>
    writer
      .bytes(NFQA_CFG_PARAMS, params)
      .be32(NFQA_CFG_FLAGS, NFQA_CFG_F_FAIL_OPEN)
      .be32(NFQA_CFG_MASK, NFQA_CFG_F_FAIL_OPEN),
  );
}

function request(operation: string, queue: number, type: number, fill: (writer: Writer) => Writer): Request {
  const writer = new Writer().header(NFGENMSG_SIZE, (header) => {
    header.writeUInt16BE(queue, 2);
  });
  return {
    operation: `nfqueue ${operation}`,
    object: `queue ${queue}`,
    type: (NFNL_SUBSYS_QUEUE << 8) | type,
    flags: 0,
    payload: fill(writer).finish(),
  };
}

function decode({ type, payload }: Message): QueuedPacket | undefined {
  if (type !== ((NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_PACKET)) return undefined;
  const attributes = attributesOf(payload, NFGENMSG_SIZE);
  // struct nfqnl_msg_packet_hdr: be32 packet_id, be16 hw_protocol, u8 hook.
  const id = attributes.get(NFQA_PACKET_HDR)?.readUInt32BE();
  return id === undefined ? undefined : { id, packet: attributes.get(NFQA_PAYLOAD) ?? Buffer.alloc(0) };
}
