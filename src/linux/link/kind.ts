import { type Ip, ipFromBytes } from '../../ip/address.ts';
import type { Attributes, Writer } from '../netlink/message.ts';

/**
 * The codec of one kind of interface, as in `ip link add … type KIND`. To add a kind, write a file with its
 * data type and codec, and list it in `kinds.ts`.
 */
export interface LinkKind<Data extends { readonly kind: string }> {
  readonly kind: Data['kind'];
  /** Writes the content of IFLA_INFO_DATA: defined properties only. */
  write(writer: Writer, data: Data): void;
  /** Reads the content of IFLA_INFO_DATA. `parent`: the device it was created on, if in this namespace. */
  read(attributes: Attributes, parent?: number): Data;
}

/** Reads a tunnel's endpoint, from the attribute of either family; undefined for none, or all zeros: any. */
export function endpointOf(attributes: Attributes, ...types: readonly number[]): Ip | undefined {
  const bytes = types.map((type) => attributes.get(type)).find((each) => each !== undefined);
  return bytes?.some((byte) => byte !== 0) ? ipFromBytes(bytes) : undefined;
}
