import { type Mac, macToBytes } from '../../ip/mac.ts';
import type { Writer } from '../netlink/message.ts';
import {
  IFINFOMSG_SIZE,
  IFLA_ADDRESS,
  IFLA_IFNAME,
  IFLA_MTU,
  IFLA_NET_NS_FD,
  IFLA_NUM_RX_QUEUES,
  IFLA_NUM_TX_QUEUES,
} from './attributes.ts';
import type { LinkKind } from './kind.ts';

const VETH_INFO_PEER = 1;

/** A pair of connected interfaces, like `type veth peer name NAME address MAC mtu MTU netns NS`. */
export type Veth = {
  readonly kind: 'veth';
  /**
   * The other end, for creation only. It starts down: the kernel refuses to bring it up before the pair is
   * complete (ENOTCONN), so use a second request in its own namespace.
   */
  readonly peer?: VethPeer | undefined;
};

export type VethPeer = {
  readonly name: string;
  readonly mac?: Mac | undefined;
  /** Bytes. Default: 1500, not the first end's. */
  readonly mtu?: number | undefined;
  /** Descriptor of the network namespace to create it in. Default: the first end's. */
  readonly netns?: number | undefined;
  /** As for the first end; not inherited from it. */
  readonly queues?: number | undefined;
};

export const veth: LinkKind<Veth> = { kind: 'veth', write, read: () => ({ kind: 'veth' }) };

function write(writer: Writer, { peer }: Veth): void {
  if (!peer) return;
  writer.nested(VETH_INFO_PEER, () => {
    writer
      .header(IFINFOMSG_SIZE, () => {})
      .bytes(IFLA_ADDRESS, peer.mac && macToBytes(peer.mac))
      .string(IFLA_IFNAME, peer.name)
      .u32(IFLA_MTU, peer.mtu)
      .u32(IFLA_NUM_TX_QUEUES, peer.queues)
      .u32(IFLA_NUM_RX_QUEUES, peer.queues)
      .u32(IFLA_NET_NS_FD, peer.netns);
  });
}
