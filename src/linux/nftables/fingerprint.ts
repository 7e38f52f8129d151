import { createHash } from 'node:crypto';
import { type Attributes, attributesIn, attributesOf, type Message, stringOf } from '../netlink/message.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import * as nft from './message.ts';

/**
 * The attributes of nf_tables.h that are configuration, as opposed to handles, use counts, counters,
 * positions, ids or expiry.
 */
const NFTA_TABLE = { name: 1, flags: 2, userdata: 6 };
const NFTA_CHAIN = { name: 3, hook: 4, policy: 5, type: 7, flags: 10, userdata: 12 };
const NFTA_RULE = { chain: 2, userdata: 7 };
const NFTA_SET = {
  name: 2,
  flags: 3,
  keyType: 4,
  keyLength: 5,
  dataType: 6,
  dataLength: 7,
  policy: 8,
  description: 9,
  timeout: 11,
  gcInterval: 12,
  userdata: 13,
  objectType: 15,
};
const NFTA_SET_ELEM = { key: 1, data: 2, flags: 3, timeout: 4, userdata: 6, object: 9, keyEnd: 10 };
const NFTA_FLOWTABLE = { name: 2, hook: 3 };
const NFTA_OBJ = { name: 2, type: 3, userdata: 8 };

const NFTA_SET_ELEM_EXPR = 7;
const NFTA_SET_ELEM_EXPRESSIONS = 11;
const NFTA_OBJ_DATA = 4;
const NFT_OBJECT_COUNTER = 1;
const NFT_OBJECT_QUOTA = 2;

/** The constant attributes of expressions whose other data changes with passing packets. */
const LASTING_DATA: Readonly<Record<string, readonly number[]>> = { counter: [], last: [], quota: [1] };

const NFT_SET_ANONYMOUS = 0x1;
const NFTA_LOOKUP_SET = 1;

/**
 * Computes a digest of a table's structure: its chains, rules, objects and the declarations of its sets and
 * maps, regardless of elements, counters and handles. Undefined if the table does not exist. Call it within
 * `consistent`.
 */
export async function structurePrint(socket: NetlinkSocket, name: nft.TableId): Promise<string | undefined> {
  const lines = await describe(socket, name);
  return lines && createHash('sha256').update(lines.join('\n')).digest('base64url');
}

/**
 * Returns one line per object; undefined without the table. Rules keep their order, everything else is
 * sorted.
 */
async function describe(socket: NetlinkSocket, name: nft.TableId): Promise<string[] | undefined> {
  const list = <T>(command: number, decode: (attributes: Attributes) => T): Promise<T[]> =>
    socket.dump({
      ...nft.query(name, command, 'table'),
      decode: (message) => (isOf(name, message) ? decode(nft.nftAttributes(message)) : undefined),
    });
  const [table] = await list(nft.NFT_MSG_GETTABLE, (attributes) => keep(NFTA_TABLE, attributes));
  if (table === undefined) return undefined;
  const chains = await list(nft.NFT_MSG_GETCHAIN, (attributes) => keep(NFTA_CHAIN, attributes));
  const objects = await list(nft.NFT_MSG_GETOBJ, object);
  const flowtables = await list(nft.NFT_MSG_GETFLOWTABLE, flowtable);
  const sets = await list(nft.NFT_MSG_GETSET, setOf);
  const lines = [`table ${table}`, ...chains.sort(), ...objects.sort(), ...flowtables.sort()];
  /**
   * Content of the anonymous sets in rules, by name: the names are numbers that depend on the table's
   * history.
   */
  const inline = new Map<string, string>();
  for (const set of sets.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (set.isAnonymous) {
      const members = await elementsOf(socket, name, set.name);
      inline.set(set.name, [set.text, ...members.sort()].join(' '));
    } else lines.push(`set ${set.text}`);
  }
  const rules = await list(nft.NFT_MSG_GETRULE, (attributes) =>
    [keep(NFTA_RULE, attributes), ...expressions(attributes.get(nft.NFTA_RULE_EXPRESSIONS), inline)].join(
      ' ',
    ),
  );
  return [...lines, 'rules', ...rules];
}

/** Describes a flowtable without its devices. */
function flowtable(attributes: Attributes): string {
  const hook = attributes.get(NFTA_FLOWTABLE.hook);
  return `flowtable ${keep([NFTA_FLOWTABLE.name], attributes)} ${keep([1, 2], hook ? attributesOf(hook) : new Map())}`;
}

function setOf(attributes: Attributes) {
  const flags = attributes.get(NFTA_SET.flags)?.readUInt32BE() ?? 0;
  const isAnonymous = (flags & NFT_SET_ANONYMOUS) !== 0;
  const { name: _name, ...rest } = NFTA_SET;
  return {
    name: stringOf(attributes.get(NFTA_SET.name) ?? Buffer.alloc(0)),
    isAnonymous,
    text: keep(isAnonymous ? rest : NFTA_SET, attributes),
  };
}

async function elementsOf(socket: NetlinkSocket, name: nft.TableId, set: string): Promise<string[]> {
  const parts = await socket.dump({
    ...nft.query(name, nft.NFT_MSG_GETSETELEM, `set ${set}`),
    payload: nft
      .nftWriter(name.family)
      .string(nft.NFTA_TABLE_NAME, name.table)
      .string(nft.NFTA_SET_ELEM_LIST_SET, set)
      .finish(),
    decode: (message) => {
      const list = nft.nftAttributes(message).get(nft.NFTA_SET_ELEM_LIST_ELEMENTS);
      return list && [...attributesIn(list)].map(([, bytes]) => element(attributesOf(bytes)));
    },
  });
  return parts.flat();
}

function element(attributes: Attributes): string {
  const one = attributes.get(NFTA_SET_ELEM_EXPR);
  return [
    keep(NFTA_SET_ELEM, attributes),
    ...(one ? [expression(attributesOf(one))] : []),
    ...expressions(attributes.get(NFTA_SET_ELEM_EXPRESSIONS)),
  ].join(' ');
}

function object(attributes: Attributes): string {
  const type = attributes.get(NFTA_OBJ.type)?.readUInt32BE();
  const isCounting = type === NFT_OBJECT_COUNTER || type === NFT_OBJECT_QUOTA;
  return `object ${keep(isCounting ? NFTA_OBJ : { ...NFTA_OBJ, data: NFTA_OBJ_DATA }, attributes)}`;
}

const NO_SETS: ReadonlyMap<string, string> = new Map();

function expressions(list: Buffer | undefined, inline = NO_SETS): string[] {
  return list ? [...attributesIn(list)].map(([, bytes]) => expression(attributesOf(bytes), inline)) : [];
}

function expression(attributes: Attributes, inline = NO_SETS): string {
  const name = stringOf(attributes.get(nft.NFTA_EXPR_NAME) ?? Buffer.alloc(0));
  const data = attributes.get(nft.NFTA_EXPR_DATA);
  if (!data) return name;
  if (name === 'lookup') return `lookup(${lookup(new Map(attributesIn(data)), inline)})`;
  const lasting = LASTING_DATA[name];
  return `${name}(${lasting ? keep(lasting, attributesOf(data)) : data.toString('hex')})`;
}

function lookup(attributes: ReadonlyMap<number, Buffer>, inline: ReadonlyMap<string, string>): string {
  const set = stringOf(attributes.get(NFTA_LOOKUP_SET) ?? Buffer.alloc(0));
  const rest = [...attributes].filter(([type]) => type !== NFTA_LOOKUP_SET);
  return [
    inline.get(set) ?? set,
    ...rest.map(([type, content]) => `${type}=${content.toString('hex')}`),
  ].join();
}

/** Returns the given attributes as text. */
function keep(types: Readonly<Record<string, number>> | readonly number[], attributes: Attributes): string {
  return Object.values(types)
    .map((type) => attributes.get(type)?.toString('hex') ?? '')
    .join(',');
}

function isOf(name: nft.TableId, message: Message): boolean {
  const other = nft.tableOf(message);
  return other?.family === name.family && other.table === name.table;
}
