import type { Family, Ip } from '../../ip/address.ts';
import type { LinkData } from '../../linux/link/kinds.ts';
import type { Departure, Encapsulated, Forwarding, Port } from '../forwarding.ts';
import type { Index, NameOf } from '../protocols/rtnetlink.ts';

/**
 * A type of device that flatnet makes, such as `vxlan`. To add one, write such an object, list it in
 * `registry.ts`, and give it a codec in `linux/link/` where there is none. Pure.
 */
export interface LinkType<L extends { readonly type: string }> {
  readonly type: L['type'];
  /** The device as rtnetlink tells of it; `data` is of the same type. */
  read(data: LinkData, nameOf: NameOf): L;
  /** What rtnetlink is told to make the device. */
  data(link: L, index: Index): LinkData;
  /**
   * Properties that the kernel changes on a live device, and the data that does it. Anything else takes a new
   * device.
   */
  readonly changeable: readonly string[];
  change?(link: L, index: Index): LinkData;
  /** What follows `type` in a command. */
  text(link: L): string;
  /** The underlay device it sits on. Absent: none. */
  lower?(link: L): string;
  /** Whether the kernel's module creates it: it can be set up and down, but neither made nor deleted. */
  isBuiltIn?(link: L): boolean;
  /** Whether it asks user space for unknown neighbours and FDB entries. */
  asks?(link: L): boolean;
  /** Families of the packets that it takes to other nodes; none for what is no tunnel. */
  carries(link: L): readonly Family[];

  /** How a packet for `gateway` leaves the node by the device. */
  depart(port: Port<L>, gateway: Ip, tables: Forwarding): Departure<L>;
  /** Why a node with these devices of the type does not take a packet from `src`; undefined when it does. */
  arrive(
    packet: Encapsulated<L>,
    src: Ip | undefined,
    ports: readonly Port<L>[],
    tables: Forwarding,
  ): string | undefined;
}
