import { codeOf } from '../error.ts';
import { type Attributes, attributesIn, attributesOf, stringOf } from '../linux/netlink/message.ts';
import type { NetlinkSocket } from '../linux/netlink/socket.ts';
import * as nft from '../linux/nftables/message.ts';
import type { BaseChain, Expression, Rule, Ruleset, Table } from './rules/ruleset.ts';

const NFTA_TABLE_FLAGS = 2;
const NFT_TABLE_F_DORMANT = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_POLICY = 5;
const NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1;
const NFTA_HOOK_PRIORITY = 2;
const NFTA_RULE_CHAIN = 2;
const NFTA_SET_NAME = 2;
const NFTA_SET_KEY_LEN = 5;

const NF_DROP = 0;

/** Reads the kernel's rules through `socket`, each chain once. */
export function readRuleset(socket: NetlinkSocket): Ruleset {
  return {
    baseChains: async (hook) => {
      const chains: BaseChain[] = [];
      for (const family of ['ip', 'ip6', 'inet'] as const)
        chains.push(...(await baseChains(socket, family, hook)));
      return chains.sort((a, b) => a.priority - b.priority);
    },
    table: (name) => readTable(socket, name),
  };
}

function readTable(socket: NetlinkSocket, name: nft.TableId): Table {
  const chains = new Map<string, Promise<Rule[]>>();
  return {
    rules: (chain) => {
      const known = chains.get(chain) ?? rulesOf(socket, name, chain);
      chains.set(chain, known);
      return known;
    },
    keyLength: (set) => keyLength(socket, name, set),
    inSet: (set, key) => inSet(socket, name, set, key),
  };
}

/** Skips disabled tables (`flags dormant`). */
async function baseChains(
  socket: NetlinkSocket,
  family: nft.TableFamily,
  hook: number,
): Promise<BaseChain[]> {
  const chains = await socket.dump({
    ...nft.query({ family, table: '' }, nft.NFT_MSG_GETCHAIN, 'chains'),
    payload: nft.nftWriter(family).finish(),
    decode: (message): BaseChain | undefined => {
      const attributes = nft.nftAttributes(message);
      const name = nft.tableOf(message);
      const chain = attributes.get(NFTA_CHAIN_NAME);
      const hooked = attributes.get(NFTA_CHAIN_HOOK);
      if (name?.family !== family || !chain || !hooked) return undefined;
      const place = attributesOf(hooked);
      if (place.get(NFTA_HOOK_HOOKNUM)?.readUInt32BE() !== hook) return undefined;
      const drops = attributes.get(NFTA_CHAIN_POLICY)?.readUInt32BE() === NF_DROP;
      return {
        ...name,
        chain: stringOf(chain),
        policy: drops ? 'drop' : 'accept',
        type: stringOf(attributes.get(NFTA_CHAIN_TYPE) ?? Buffer.alloc(0)),
        priority: place.get(NFTA_HOOK_PRIORITY)?.readInt32BE() ?? 0,
      };
    },
  });
  if (chains.length === 0) return [];
  const dormant = await socket.dump({
    ...nft.query({ family, table: '' }, nft.NFT_MSG_GETTABLE, 'tables'),
    payload: nft.nftWriter(family).finish(),
    decode: (message) => {
      const flags = nft.nftAttributes(message).get(NFTA_TABLE_FLAGS)?.readUInt32BE() ?? 0;
      return flags & NFT_TABLE_F_DORMANT ? nft.tableOf(message)?.table : undefined;
    },
  });
  return chains.filter(({ table }) => !dormant.includes(table));
}

function rulesOf(socket: NetlinkSocket, name: nft.TableId, chain: string): Promise<Rule[]> {
  return socket.dump({
    ...nft.query(name, nft.NFT_MSG_GETRULE, `chain ${chain}`),
    payload: nft
      .nftWriter(name.family)
      .string(nft.NFTA_TABLE_NAME, name.table)
      .string(NFTA_RULE_CHAIN, chain)
      .finish(),
    decode: (message) => {
      const attributes = nft.nftAttributes(message);
      const of = attributes.get(NFTA_RULE_CHAIN);
      // Kernels before 4.15 ignore the filter and dump the rules of all chains.
      if (!of || stringOf(of) !== chain) return undefined;
      // The socket reuses the buffer that the message lies in.
      const list = Buffer.from(attributes.get(nft.NFTA_RULE_EXPRESSIONS) ?? []);
      return [...attributesIn(list)].map(([, bytes]) => expression(attributesOf(bytes)));
    },
  });
}

function expression(attributes: Attributes): Expression {
  const data = attributes.get(nft.NFTA_EXPR_DATA);
  return {
    name: stringOf(attributes.get(nft.NFTA_EXPR_NAME) ?? Buffer.alloc(0)),
    data: data ? attributesOf(data) : new Map(),
  };
}

async function keyLength(socket: NetlinkSocket, name: nft.TableId, set: string): Promise<number | undefined> {
  const [length] = await socket.dump({
    ...nft.query(name, nft.NFT_MSG_GETSET, `set ${set}`),
    decode: (message) => {
      const attributes = nft.nftAttributes(message);
      const own = attributes.get(NFTA_SET_NAME);
      return own && stringOf(own) === set ? attributes.get(NFTA_SET_KEY_LEN)?.readUInt32BE() : undefined;
    },
  });
  return length;
}

/** Like `nft get element`. */
async function inSet(
  socket: NetlinkSocket,
  name: nft.TableId,
  set: string,
  key: Uint8Array,
): Promise<boolean> {
  try {
    await socket.get({
      ...nft.query(name, nft.NFT_MSG_GETSETELEM, `set ${set}`),
      payload: nft
        .nftWriter(name.family)
        .string(nft.NFTA_TABLE_NAME, name.table)
        .string(nft.NFTA_SET_ELEM_LIST_SET, set)
        .nested(nft.NFTA_SET_ELEM_LIST_ELEMENTS, (writer) =>
          writer.nested(nft.NFTA_LIST_ELEM, () =>
            writer.nested(nft.NFTA_SET_ELEM_KEY, () => writer.bytes(nft.NFTA_DATA_VALUE, key)),
          ),
        )
        .finish(),
      decode: () => true,
    });
    return true;
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return false;
    throw error;
  }
}
