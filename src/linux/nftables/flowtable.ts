import {
  attributesIn,
  attributesOf,
  type Message,
  NLM_F_CREATE,
  type Request,
  stringOf,
} from '../netlink/message.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import * as nft from './message.ts';
import type { ElementText } from './values/element.ts';
import { fieldText } from './values/field.ts';
import { type Flowtable, type TableId, tableName } from './values/table.ts';

const NFTA_FLOWTABLE_TABLE = 1;
const NFTA_FLOWTABLE_NAME = 2;
const NFTA_FLOWTABLE_HOOK = 3;
const NFTA_FLOWTABLE_HOOK_DEVS = 3;
const NFTA_DEVICE_NAME = 1;

/** Adds devices to an existing flowtable, or removes them. ENOENT for a missing device. */
export function flowtableRequests(
  action: 'add' | 'delete',
  table: TableId,
  { name }: Flowtable,
  devices: readonly ElementText[],
): Request[] {
  if (devices.length === 0) return [];
  const isAdd = action === 'add';
  return [
    {
      operation: `nft ${action} flowtable`,
      object: `${tableName(table)} ${name}`,
      type: nft.nftType(isAdd ? nft.NFT_MSG_NEWFLOWTABLE : nft.NFT_MSG_DELFLOWTABLE),
      flags: isAdd ? NLM_F_CREATE : 0,
      payload: nft
        .nftWriter(table.family)
        .string(NFTA_FLOWTABLE_TABLE, table.table)
        .string(NFTA_FLOWTABLE_NAME, name)
        .nested(NFTA_FLOWTABLE_HOOK, (hook) =>
          hook.nested(NFTA_FLOWTABLE_HOOK_DEVS, (list) => {
            for (const { key } of devices) list.string(NFTA_DEVICE_NAME, key.slice(1, -1));
          }),
        )
        .finish(),
    },
  ];
}

/** A flowtable, whosever it is, with the devices whose packets it takes. */
export type DeviceHandover = {
  readonly table: TableId;
  readonly name: string;
  readonly devices: readonly string[];
};

/** Reads all flowtables: `nft list flowtables`. None where the kernel has no such thing. */
export async function readHandovers(socket: NetlinkSocket): Promise<DeviceHandover[]> {
  return await socket.dump({
    operation: 'nft list',
    object: 'flowtables',
    type: nft.nftType(nft.NFT_MSG_GETFLOWTABLE),
    flags: 0,
    payload: nft.nftWriter().finish(),
    decode: (message) => {
      const table = nft.tableOf(message);
      const name = nft.nftAttributes(message).get(NFTA_FLOWTABLE_NAME);
      return table && name && { table, name: stringOf(name), devices: devicesIn(message) };
    },
  });
}

function devicesIn(message: Message): string[] {
  const hook = nft.nftAttributes(message).get(NFTA_FLOWTABLE_HOOK);
  const list = hook && attributesOf(hook).get(NFTA_FLOWTABLE_HOOK_DEVS);
  return list ? [...attributesIn(list)].map(([, device]) => stringOf(device)) : [];
}

/** Reads the devices of a flowtable. */
export async function readDevices(
  socket: NetlinkSocket,
  table: TableId,
  { name }: Flowtable,
): Promise<ElementText[]> {
  const devices = await socket.dump({
    ...nft.query(table, nft.NFT_MSG_GETFLOWTABLE, `flowtable ${name}`),
    decode: (message) => {
      const own = nft.nftAttributes(message).get(NFTA_FLOWTABLE_NAME);
      const of = nft.tableOf(message);
      if (of?.family !== table.family || of.table !== table.table) return undefined;
      return own && stringOf(own) === name ? devicesIn(message) : undefined;
    },
  });
  return devices.flat().map((device) => ({ set: name, key: fieldText('ifname', device) }));
}
