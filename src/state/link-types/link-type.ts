import type { Family, Ip } from '../../ip/address.ts';
import type { Encapsulation } from '../../linux/encapsulation.ts';
import type { LinkData } from '../../linux/link/kinds.ts';
import type { Departure, Encapsulated, Forwarding, Port } from '../forwarding.ts';
import type { Index, NameOf } from '../protocols/rtnetlink.ts';

/**
 * A type of device that flatnet creates, such as `vxlan`. To add one, implement this interface, list it in
 * `registry.ts`, and add a codec in `linux/link/` if missing. Pure.
 */
export interface LinkType<L extends { readonly type: string }> {
  readonly type: L['type'];
  /**
   * A device of the type that fits into any namespace: a kernel that lacks the type refuses it. One that
   * shares another device's network names none that can be shared.
   */
  readonly sample: LinkData;
  /** Whether rtnetlink's description is of a device of the type. Absent: its kind has the type's name. */
  describes?(data: LinkData): boolean;
  /** Converts rtnetlink's description of the device; `data` is of the same type. */
  read(data: LinkData, nameOf: NameOf): L;
  /** The description from which rtnetlink creates the device. */
  data(link: L, index: Index): LinkData;
  /**
   * Properties that the kernel can change on a live device, and the data to do so. Anything else requires a
   * new device.
   */
  readonly changeable: readonly string[];
  change?(link: L, index: Index, was: L): LinkData;
  /** Properties that a device keeps if nobody asks for them. Absent: none. */
  readonly kept?: readonly string[];
  /** What follows `type` in a command. */
  text(link: L): string;
  /** The underlay device it sits on. Absent: none. */
  lower?(link: L): string;
  /** It is created as `link DEV`, on the network of that device. */
  readonly sharesLower?: true;
  /** Whether the kernel's module creates it: it can be set up and down, but neither created nor deleted. */
  isBuiltIn?(link: L): boolean;
  /** A program of ours makes it, as rtnetlink cannot: it can be changed and deleted, but not created. */
  readonly isMadeByProgram?: true;
  /** Whether user space resolves unknown neighbours and FDB entries. */
  isOnDemand?(link: L): boolean;
  /** Families of the packets it carries to other nodes; none for a device that is not a tunnel. */
  carries(link: L): readonly Family[];

  /**
   * Returns how a packet for `gateway` leaves the node through the device; `encapsulation` is its route's.
   */
  depart(
    port: Port<L>,
    gateway: Ip,
    tables: Forwarding,
    encapsulation: Encapsulation | undefined,
  ): Departure<L>;
  /** Why a node with these devices of the type drops a packet from `src`; undefined if it accepts it. */
  arrive(
    packet: Encapsulated<L>,
    src: Ip | undefined,
    ports: readonly Port<L>[],
    tables: Forwarding,
  ): string | undefined;
}
