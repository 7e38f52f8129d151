import type { Attributes, Writer } from '../netlink/message.ts';
import type { LinkKind } from './kind.ts';

const IFLA_BR_FORWARD_DELAY = 1;
const IFLA_BR_AGEING_TIME = 4;
const IFLA_BR_STP_STATE = 5;
const IFLA_BR_VLAN_FILTERING = 7;
const IFLA_BR_MCAST_SNOOPING = 23;

const IFLA_BRPORT_MODE = 4;
const IFLA_BRPORT_LEARNING = 8;
const IFLA_BRPORT_UNICAST_FLOOD = 9;
const IFLA_BRPORT_ISOLATED = 33;

/**
 * A switch, like `type bridge stp_state 0 vlan_filtering 0 …`. Undefined properties keep the kernel's
 * default.
 */
export type Bridge = {
  readonly kind: 'bridge';
  readonly stp?: boolean | undefined;
  readonly vlanFiltering?: boolean | undefined;
  readonly multicastSnooping?: boolean | undefined;
  /** Hundredths of a second. */
  readonly forwardDelay?: number | undefined;
  /** Lifetime of a learnt entry in hundredths of a second. */
  readonly ageingTime?: number | undefined;
};

/** Settings of a bridge port, like `type bridge_slave hairpin on …`. */
export type BridgePort = {
  /** Whether a frame may leave through the port it arrived on. */
  readonly hairpin?: boolean | undefined;
  readonly learning?: boolean | undefined;
  /** Whether frames to unknown addresses leave through it. */
  readonly flood?: boolean | undefined;
  /** Whether it is cut off from other isolated ports. */
  readonly isolated?: boolean | undefined;
};

export const bridge: LinkKind<Bridge> = { kind: 'bridge', write, read };

function write(writer: Writer, bridge: Bridge): void {
  writer
    .u32(IFLA_BR_FORWARD_DELAY, bridge.forwardDelay)
    .u32(IFLA_BR_AGEING_TIME, bridge.ageingTime)
    .u32(IFLA_BR_STP_STATE, bridge.stp === undefined ? undefined : Number(bridge.stp))
    .bool(IFLA_BR_VLAN_FILTERING, bridge.vlanFiltering)
    .bool(IFLA_BR_MCAST_SNOOPING, bridge.multicastSnooping);
}

function read(attributes: Attributes): Bridge {
  return {
    kind: 'bridge',
    stp: (attributes.get(IFLA_BR_STP_STATE)?.readUInt32LE() ?? 0) !== 0,
    vlanFiltering: bool(attributes, IFLA_BR_VLAN_FILTERING),
    multicastSnooping: bool(attributes, IFLA_BR_MCAST_SNOOPING),
    forwardDelay: attributes.get(IFLA_BR_FORWARD_DELAY)?.readUInt32LE(),
    ageingTime: attributes.get(IFLA_BR_AGEING_TIME)?.readUInt32LE(),
  };
}

export function writeBridgePort(writer: Writer, port: BridgePort): void {
  writer
    .bool(IFLA_BRPORT_MODE, port.hairpin)
    .bool(IFLA_BRPORT_LEARNING, port.learning)
    .bool(IFLA_BRPORT_UNICAST_FLOOD, port.flood)
    .bool(IFLA_BRPORT_ISOLATED, port.isolated);
}

export function readBridgePort(attributes: Attributes): BridgePort {
  return {
    hairpin: bool(attributes, IFLA_BRPORT_MODE),
    learning: bool(attributes, IFLA_BRPORT_LEARNING),
    flood: bool(attributes, IFLA_BRPORT_UNICAST_FLOOD),
    isolated: bool(attributes, IFLA_BRPORT_ISOLATED),
  };
}

function bool(attributes: Attributes, type: number): boolean {
  return (attributes.get(type)?.readUInt8() ?? 0) !== 0;
}
