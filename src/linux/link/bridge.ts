import type { Attributes, Writer } from '../netlink/message.ts';
import type { LinkKind } from './kind.ts';

const IFLA_BR_FORWARD_DELAY = 1;
const IFLA_BR_AGEING_TIME = 4;
const IFLA_BR_STP_STATE = 5;
const IFLA_BR_VLAN_FILTERING = 7;
const IFLA_BR_MCAST_SNOOPING = 23;
const IFLA_BR_MULTI_BOOLOPT = 46;

const BR_BOOLOPT_NO_LL_LEARN = 1 << 0;

const IFLA_BRPORT_STATE = 1;
const IFLA_BRPORT_MODE = 4;
const IFLA_BRPORT_GUARD = 5;
const IFLA_BRPORT_PROTECT = 6;
const IFLA_BRPORT_LEARNING = 8;
const IFLA_BRPORT_UNICAST_FLOOD = 9;
const IFLA_BRPORT_PROXYARP = 10;
const IFLA_BRPORT_MCAST_FLOOD = 27;
const IFLA_BRPORT_VLAN_TUNNEL = 29;
const IFLA_BRPORT_BCAST_FLOOD = 30;
const IFLA_BRPORT_NEIGH_SUPPRESS = 32;
const IFLA_BRPORT_ISOLATED = 33;
const IFLA_BRPORT_LOCKED = 39;

const BR_STATE_DISABLED = 0;
const BR_STATE_FORWARDING = 3;

/**
 * A switch, like `type bridge stp_state 0 vlan_filtering 0 …`. Undefined properties keep the kernel's
 * default.
 */
export type Bridge = {
  readonly kind: 'bridge';
  readonly stp?: boolean | undefined;
  readonly vlanFiltering?: boolean | undefined;
  readonly multicastSnooping?: boolean | undefined;
  /**
   * Whether it learns from frames to a link-local group too, such as LLDP's, which netfilter does not see
   * (`no_linklocal_learn 0`).
   */
  readonly linkLocalLearning?: boolean | undefined;
  /** Hundredths of a second. */
  readonly forwardDelay?: number | undefined;
  /** Lifetime of a learnt entry in hundredths of a second. */
  readonly ageingTime?: number | undefined;
};

/**
 * Settings of a bridge port, as in `type bridge_slave hairpin on …`. One that the kernel lacks is undefined.
 */
export type BridgePort = {
  /** Whether it passes frames as soon as it has a carrier (`state forwarding`). */
  readonly forwarding?: boolean | undefined;
  /** Whether a frame may leave through the port it arrived on. */
  readonly hairpin?: boolean | undefined;
  readonly learning?: boolean | undefined;
  /** Whether frames to unknown addresses leave through it. */
  readonly flood?: boolean | undefined;
  readonly multicastFlood?: boolean | undefined;
  readonly broadcastFlood?: boolean | undefined;
  /** Whether it is cut off from other isolated ports. */
  readonly isolated?: boolean | undefined;
  /** Whether it accepts frames from known sources only. */
  readonly locked?: boolean | undefined;
  /** Whether the bridge answers ARP and ND in its stead. */
  readonly neighbourSuppression?: boolean | undefined;
  readonly proxyArp?: boolean | undefined;
  /** Whether a spanning tree message disables it. */
  readonly bpduGuard?: boolean | undefined;
  readonly rootBlock?: boolean | undefined;
  readonly vlanTunnel?: boolean | undefined;
};

type PortFlag = Exclude<keyof BridgePort, 'forwarding'>;

/** The attributes that are plain flags. */
const PORT_FLAGS: readonly (readonly [name: PortFlag, type: number])[] = [
  ['hairpin', IFLA_BRPORT_MODE],
  ['learning', IFLA_BRPORT_LEARNING],
  ['flood', IFLA_BRPORT_UNICAST_FLOOD],
  ['multicastFlood', IFLA_BRPORT_MCAST_FLOOD],
  ['broadcastFlood', IFLA_BRPORT_BCAST_FLOOD],
  ['isolated', IFLA_BRPORT_ISOLATED],
  ['locked', IFLA_BRPORT_LOCKED],
  ['neighbourSuppression', IFLA_BRPORT_NEIGH_SUPPRESS],
  ['proxyArp', IFLA_BRPORT_PROXYARP],
  ['bpduGuard', IFLA_BRPORT_GUARD],
  ['rootBlock', IFLA_BRPORT_PROTECT],
  ['vlanTunnel', IFLA_BRPORT_VLAN_TUNNEL],
];

export const bridge: LinkKind<Bridge> = { kind: 'bridge', write, read };

function write(writer: Writer, bridge: Bridge): void {
  writer
    .u32(IFLA_BR_FORWARD_DELAY, bridge.forwardDelay)
    .u32(IFLA_BR_AGEING_TIME, bridge.ageingTime)
    .u32(IFLA_BR_STP_STATE, bridge.stp === undefined ? undefined : Number(bridge.stp))
    .bool(IFLA_BR_VLAN_FILTERING, bridge.vlanFiltering)
    .bool(IFLA_BR_MCAST_SNOOPING, bridge.multicastSnooping);
  if (bridge.linkLocalLearning === undefined) return;
  // struct br_boolopt_multi: values, and which of them count.
  const options = Buffer.alloc(8);
  options.writeUInt32LE(bridge.linkLocalLearning ? 0 : BR_BOOLOPT_NO_LL_LEARN, 0);
  options.writeUInt32LE(BR_BOOLOPT_NO_LL_LEARN, 4);
  writer.bytes(IFLA_BR_MULTI_BOOLOPT, options);
}

function read(attributes: Attributes): Bridge {
  const options = attributes.get(IFLA_BR_MULTI_BOOLOPT);
  return {
    kind: 'bridge',
    stp: (attributes.get(IFLA_BR_STP_STATE)?.readUInt32LE() ?? 0) !== 0,
    vlanFiltering: bool(attributes, IFLA_BR_VLAN_FILTERING),
    multicastSnooping: bool(attributes, IFLA_BR_MCAST_SNOOPING),
    // Before Linux 5.0 there was no choice.
    linkLocalLearning: options && (options.readUInt32LE() & BR_BOOLOPT_NO_LL_LEARN) === 0,
    forwardDelay: attributes.get(IFLA_BR_FORWARD_DELAY)?.readUInt32LE(),
    ageingTime: attributes.get(IFLA_BR_AGEING_TIME)?.readUInt32LE(),
  };
}

export function writeBridgePort(writer: Writer, port: BridgePort): void {
  if (port.forwarding) writer.u8(IFLA_BRPORT_STATE, BR_STATE_FORWARDING);
  for (const [name, type] of PORT_FLAGS) writer.bool(type, port[name]);
}

export function readBridgePort(attributes: Attributes): BridgePort {
  const port: { -readonly [Name in keyof BridgePort]: BridgePort[Name] } = {};
  const state = attributes.get(IFLA_BRPORT_STATE)?.[0];
  // Without a carrier, the kernel disables the port itself.
  if (state !== undefined) port.forwarding = state === BR_STATE_FORWARDING || state === BR_STATE_DISABLED;
  for (const [name, type] of PORT_FLAGS) {
    const value = attributes.get(type)?.[0];
    if (value !== undefined) port[name] = value !== 0;
  }
  return port;
}

function bool(attributes: Attributes, type: number): boolean {
  return (attributes.get(type)?.readUInt8() ?? 0) !== 0;
}
