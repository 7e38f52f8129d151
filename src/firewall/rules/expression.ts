import { type Attributes, attributesOf, stringOf } from '../../linux/netlink/message.ts';
import { iptablesMatch, iptablesTarget } from './iptables.ts';
import { conntrackOf, conntrackSet, headerOf, metaOf, metaSet, type Packet } from './packet.ts';
import type { Registers } from './registers.ts';
import type { Expression, Table } from './ruleset.ts';

// linux/netfilter/nf_tables.h: attributes of each kind of expression.
const NFTA_META_DREG = 1;
const NFTA_META_KEY = 2;
const NFTA_PAYLOAD_DREG = 1;
const NFTA_PAYLOAD_BASE = 2;
const NFTA_PAYLOAD_OFFSET = 3;
const NFTA_PAYLOAD_LEN = 4;
const NFT_PAYLOAD_NETWORK_HEADER = 1;
const NFTA_CT_DREG = 1;
const NFTA_CT_KEY = 2;
const NFTA_BITWISE_SREG = 1;
const NFTA_BITWISE_DREG = 2;
const NFTA_BITWISE_LEN = 3;
const NFTA_BITWISE_MASK = 4;
const NFTA_BITWISE_XOR = 5;
const NFTA_CMP_SREG = 1;
const NFTA_CMP_OP = 2;
const NFTA_CMP_DATA = 3;
const NFTA_LOOKUP_SET = 1;
const NFTA_LOOKUP_SREG = 2;
const NFTA_LOOKUP_DREG = 3;
const NFTA_LOOKUP_FLAGS = 5;
const NFT_LOOKUP_F_INV = 1;
const NFT_REG_VERDICT = 0;
const NFTA_IMMEDIATE_DREG = 1;
const NFTA_IMMEDIATE_DATA = 2;
const NFTA_MATCH_NAME = 1;
const NFTA_MATCH_REV = 2;
const NFTA_MATCH_INFO = 3;
const NFTA_TARGET_NAME = 1;
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;

type Code = 'drop' | 'accept' | 'jump' | 'goto' | 'return';
/** A rule's verdict, with the target of a jump or goto. */
export type Verdict = { readonly code: Code; readonly chain: string };

/** NF_DROP, NF_ACCEPT, NFT_JUMP, NFT_GOTO, NFT_RETURN. */
const CODES: ReadonlyMap<number | undefined, Code> = new Map<number, Code>([
  [0, 'drop'],
  [1, 'accept'],
  [-3, 'jump'],
  [-4, 'goto'],
  [-5, 'return'],
]);

/** Expressions that don't affect the verdict. */
const HARMLESS = ['counter', 'log', 'last', 'dup', 'flow_offload'];

/**
 * Evaluates an expression. Returns whether it matches, undefined if unknown; or its verdict, `unclear` when
 * that can't be determined.
 */
export async function evaluate(
  { name, data }: Expression,
  packet: Packet,
  registers: Registers,
  table: Table,
): Promise<boolean | undefined | Verdict | 'unclear'> {
  switch (name) {
    // Without a destination register it sets a value.
    case 'meta': {
      const key = number(data, NFTA_META_KEY);
      if (data.has(NFTA_META_DREG)) registers.write(number(data, NFTA_META_DREG), metaOf(packet, key));
      else metaSet(packet, key);
      return true;
    }
    case 'payload':
      if (data.has(NFTA_PAYLOAD_DREG)) payload(data, packet, registers);
      return true;
    case 'ct': {
      const key = number(data, NFTA_CT_KEY);
      if (data.has(NFTA_CT_DREG)) registers.write(number(data, NFTA_CT_DREG), conntrackOf(packet, key));
      else conntrackSet(packet, key);
      return true;
    }
    case 'notrack':
      packet.written.add('tracking');
      return true;
    case 'bitwise':
      bitwise(data, registers);
      return true;
    case 'cmp':
      return compare(data, registers);
    case 'lookup':
      return lookup(data, registers, table);
    case 'immediate':
      return immediate(data, registers);
    case 'queue':
      return 'unclear';
    case 'reject':
      return { code: 'drop', chain: '' };
    case 'match': {
      const info = data.get(NFTA_MATCH_INFO) ?? Buffer.alloc(0);
      return iptablesMatch(packet, text(data, NFTA_MATCH_NAME), number(data, NFTA_MATCH_REV), info);
    }
    case 'target': {
      const target = text(data, NFTA_TARGET_NAME);
      if (target === 'REJECT') return { code: 'drop', chain: '' };
      if (target === 'NFQUEUE') return 'unclear';
      iptablesTarget(packet, target);
      return true;
    }
    default:
      return HARMLESS.includes(name) ? true : undefined;
  }
}

async function lookup(
  data: Attributes,
  registers: Registers,
  table: Table,
): Promise<boolean | undefined | 'unclear'> {
  // A map, either of verdicts or of values that we do not evaluate.
  if (data.has(NFTA_LOOKUP_DREG)) {
    return number(data, NFTA_LOOKUP_DREG) === NFT_REG_VERDICT ? 'unclear' : undefined;
  }
  const set = text(data, NFTA_LOOKUP_SET);
  const length = await table.keyLength(set);
  const key = length === undefined ? undefined : registers.read(number(data, NFTA_LOOKUP_SREG), length);
  if (!key) return undefined;
  const isInverse = (number(data, NFTA_LOOKUP_FLAGS) & NFT_LOOKUP_F_INV) !== 0;
  return (await table.inSet(set, key)) !== isInverse;
}

function payload(data: Attributes, packet: Packet, registers: Registers): void {
  const length = number(data, NFTA_PAYLOAD_LEN);
  const isNetwork = number(data, NFTA_PAYLOAD_BASE) === NFT_PAYLOAD_NETWORK_HEADER;
  const bytes = isNetwork ? headerOf(packet, number(data, NFTA_PAYLOAD_OFFSET), length) : undefined;
  registers.write(number(data, NFTA_PAYLOAD_DREG), bytes, length);
}

function bitwise(data: Attributes, registers: Registers): void {
  const length = number(data, NFTA_BITWISE_LEN);
  const value = registers.read(number(data, NFTA_BITWISE_SREG), length);
  const mask = constantOf(data.get(NFTA_BITWISE_MASK));
  const xor = constantOf(data.get(NFTA_BITWISE_XOR));
  // A shift has neither.
  const result =
    value && mask && xor ? value.map((byte, i) => (byte & (mask[i] ?? 0)) ^ (xor[i] ?? 0)) : undefined;
  registers.write(number(data, NFTA_BITWISE_DREG), result, length);
}

function compare(data: Attributes, registers: Registers): boolean | undefined {
  const wanted = constantOf(data.get(NFTA_CMP_DATA));
  const value = wanted && registers.read(number(data, NFTA_CMP_SREG), wanted.length);
  if (!value) return undefined;
  const order = Buffer.compare(value, wanted);
  // By NFT_CMP_EQ, NEQ, LT, LTE, GT, GTE.
  const operators = [order === 0, order !== 0, order < 0, order <= 0, order > 0, order >= 0];
  return operators[number(data, NFTA_CMP_OP)];
}

function immediate(data: Attributes, registers: Registers): true | undefined | Verdict {
  const content = data.get(NFTA_IMMEDIATE_DATA);
  const decision = content && attributesOf(content).get(NFTA_DATA_VERDICT);
  if (!decision) {
    registers.write(number(data, NFTA_IMMEDIATE_DREG), constantOf(content));
    return true;
  }
  const parts = attributesOf(decision);
  const code = CODES.get(parts.get(NFTA_VERDICT_CODE)?.readInt32BE());
  return code && { code, chain: text(parts, NFTA_VERDICT_CHAIN) };
}

function number(data: Attributes, type: number): number {
  return data.get(type)?.readUInt32BE() ?? 0;
}

function text(data: Attributes, type: number): string {
  return stringOf(data.get(type) ?? Buffer.alloc(0));
}

function constantOf(content: Buffer | undefined): Buffer | undefined {
  return content && attributesOf(content).get(NFTA_DATA_VALUE);
}
