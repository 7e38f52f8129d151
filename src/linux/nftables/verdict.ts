import { type Family, familyOf, type Ip, ipToBytes } from '../../ip/address.ts';
import { type Attributes, attributesOf, stringOf } from '../netlink/message.ts';
import type { BaseChain, Expression, Rule } from './chains.ts';

/** The first TCP packet of a connection, as it is forwarded. */
export type Packet = {
  readonly source: Ip;
  readonly target: Ip;
  /** Interface names. */
  readonly from: string;
  readonly to: string;
};

/** Where the rules are read from: the kernel. */
export type Ruleset = {
  rules(chain: string): Promise<readonly Rule[]>;
  keyLength(set: string): Promise<number | undefined>;
  inSet(set: string, key: Uint8Array): Promise<boolean>;
};

/**
 * Whether a base chain drops or rejects the packet for certain. What some rule may accept, for reasons we can't see into (an
 * extension of iptables, a limit, a verdict map), is not dropped.
 */
export async function drops(chain: BaseChain, packet: Packet, ruleset: Ruleset): Promise<boolean> {
  const walk = new Walk(packet, ruleset);
  const verdict = await walk.chain(chain.chain);
  if (walk.doubtful) return false;
  return verdict === 'drop' || (verdict === undefined && chain.policy === 'drop');
}

const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;
const VERDICTS = new Map([
  [0, 'drop'],
  [1, 'accept'],
  [-3, 'jump'],
  [-4, 'goto'],
  [-5, 'return'],
] as const);
type Verdict = { readonly code: 'drop' | 'accept' | 'jump' | 'goto' | 'return'; readonly chain: string };

const NFPROTO = { 4: 2, 6: 10 } as const;
const ETH_P = { 4: 0x0800, 6: 0x86dd } as const;
const IPPROTO_TCP = 6;
/** What a rule does beside deciding. */
const HARMLESS = ['counter', 'log', 'last', 'notrack', 'dup', 'flow_offload'];

class Walk {
  /** A rule that we don't understand may have accepted the packet. */
  doubtful = false;
  readonly #packet: Packet;
  readonly #family: Family;
  readonly #header: Header;
  readonly #ruleset: Ruleset;

  constructor(packet: Packet, ruleset: Ruleset) {
    this.#packet = packet;
    this.#family = familyOf(packet.source);
    this.#header = header(packet, this.#family);
    this.#ruleset = ruleset;
  }

  /** Undefined: it comes back from the chain undecided. */
  async chain(name: string): Promise<'accept' | 'drop' | undefined> {
    for (const rule of await this.#ruleset.rules(name)) {
      const { matches, verdict } = await this.#rule(rule);
      if (matches === false || !verdict) continue;
      const { code, chain } = verdict;
      const inner = code === 'jump' || code === 'goto' ? await this.chain(chain) : undefined;
      const decided = code === 'accept' || code === 'drop' ? code : inner;
      if (matches === undefined) {
        // Whether it matches does not matter where it drops, or leaves the decision to what follows.
        if (decided !== 'drop' && (decided === 'accept' || code !== 'jump')) this.doubtful = true;
        continue;
      }
      if (decided !== undefined || code !== 'jump') return decided;
    }
    return undefined;
  }

  /** `matches` is undefined where that can't be said. */
  async #rule(rule: Rule): Promise<{ matches: boolean | undefined; verdict?: Verdict }> {
    const registers = new Registers();
    let matches: boolean | undefined = true;
    let verdict: Verdict | undefined;
    for (const each of rule) {
      const result = await this.#expression(each, registers);
      if (result === false) return { matches: false };
      if (result === undefined || result === 'unclear') matches = undefined;
      if (result === 'unclear') verdict = { code: 'accept', chain: '' };
      else if (typeof result === 'object') verdict = result;
    }
    return { matches, ...(verdict && { verdict }) };
  }

  /** Whether it holds, undefined where that can't be said; or what it decides, perhaps without our seeing what. */
  async #expression(
    { name, data }: Expression,
    registers: Registers,
  ): Promise<boolean | undefined | Verdict | 'unclear'> {
    switch (name) {
      case 'meta':
        if (data.has(1)) registers.write(number(data, 1), this.#meta(number(data, 2)));
        return true;
      case 'payload':
        if (data.has(1)) {
          const [base, offset, length] = [number(data, 2), number(data, 3), number(data, 4)];
          registers.write(number(data, 1), base === 1 ? this.#header(offset, length) : undefined, length);
        }
        return true;
      case 'ct':
        if (data.has(1)) registers.write(number(data, 1), conntrack(number(data, 2)));
        return true;
      case 'bitwise':
        registers.write(number(data, 2), bitwise(data, registers), number(data, 3));
        return true;
      case 'cmp':
        return compare(data, registers);
      case 'lookup':
        // A map of verdicts.
        if (data.has(3) && number(data, 3) === 0) return 'unclear';
        return this.#lookup(data, registers);
      case 'immediate':
        return immediate(data, registers);
      case 'queue':
        return 'unclear';
      case 'reject':
        return { code: 'drop', chain: '' };
      case 'match':
        return extension(stringOf(data.get(1) ?? Buffer.alloc(0)), number(data, 2), data.get(3));
      case 'target':
        return stringOf(data.get(1) ?? Buffer.alloc(0)) === 'REJECT' ? { code: 'drop', chain: '' } : true;
      default:
        return HARMLESS.includes(name) ? true : undefined;
    }
  }

  #meta(key: number): Buffer | undefined {
    switch (key) {
      case 1:
        return be16(ETH_P[this.#family]);
      case 3: // mark
        return Buffer.alloc(4);
      case 6:
        return interfaceName(this.#packet.from);
      case 7:
        return interfaceName(this.#packet.to);
      case 15:
        return Buffer.of(NFPROTO[this.#family]);
      case 16:
        return Buffer.of(IPPROTO_TCP);
      default:
        return undefined;
    }
  }

  async #lookup(data: Attributes, registers: Registers): Promise<boolean | undefined> {
    const set = stringOf(data.get(1) ?? Buffer.alloc(0));
    const isMap = data.has(3);
    const length = isMap ? undefined : await this.#ruleset.keyLength(set);
    const key = length === undefined ? undefined : registers.read(number(data, 2), length);
    if (!key) return undefined;
    const isInverse = (number(data, 5) & 1) !== 0;
    return (await this.#ruleset.inSet(set, key)) !== isInverse;
  }
}

/** Bytes of the network header; undefined for those that we can't know. */
type Header = (offset: number, length: number) => Buffer | undefined;

function header({ source, target }: Packet, family: Family): Header {
  const [size, protocolAt, addressesAt] = family === 4 ? [20, 9, 12] : [40, 6, 8];
  const bytes = Buffer.alloc(size);
  bytes[0] = family << 4;
  bytes[protocolAt] = IPPROTO_TCP;
  bytes.set(ipToBytes(source), addressesAt);
  bytes.set(ipToBytes(target), (addressesAt + size) / 2);
  return (offset, length) => {
    const isProtocol = offset === protocolAt && length === 1;
    const isAddress = offset >= addressesAt && offset + length <= size;
    return isProtocol || isAddress ? bytes.subarray(offset, offset + length) : undefined;
  };
}

/** Four-byte registers, which the sixteen-byte ones of older rules lie across; what is not known in them is marked. */
class Registers {
  readonly #bytes = Buffer.alloc(64);
  readonly #known = new Array<boolean>(16).fill(false);

  write(register: number, value: Uint8Array | undefined, length = value?.length ?? 16): void {
    const at = place(register);
    const words = Math.ceil(length / 4);
    this.#known.fill(value !== undefined, at, at + words);
    this.#bytes.fill(0, 4 * at, 4 * (at + words));
    if (value) this.#bytes.set(value, 4 * at);
  }

  read(register: number, length: number): Buffer | undefined {
    const at = place(register);
    if (!this.#known.slice(at, at + Math.ceil(length / 4)).every(Boolean)) return undefined;
    return this.#bytes.subarray(4 * at, 4 * at + length);
  }
}

/** NFT_REG_1 to 4 are sixteen bytes long, NFT_REG32_00 (8) and following are four. */
function place(register: number): number {
  return register < 8 ? 4 * (register - 1) : register - 8;
}

/** Of a packet that is the first of its connection. */
function conntrack(key: number): Buffer | undefined {
  const NEW = 8;
  const [NFT_CT_STATE, NFT_CT_STATUS, NFT_CT_MARK] = [0, 2, 3];
  if (key === NFT_CT_STATE) return le32(NEW);
  return key === NFT_CT_STATUS || key === NFT_CT_MARK ? le32(0) : undefined;
}

function bitwise(data: Attributes, registers: Registers): Buffer | undefined {
  const length = number(data, 3);
  const value = registers.read(number(data, 1), length);
  const [mask, xor] = [dataOf(data.get(4)), dataOf(data.get(5))];
  // Shifts have neither.
  if (!value || !mask || !xor) return undefined;
  return Buffer.from(value.map((byte, i) => (byte & (mask[i] ?? 0)) ^ (xor[i] ?? 0)));
}

function compare(data: Attributes, registers: Registers): boolean | undefined {
  const wanted = dataOf(data.get(3));
  const value = wanted && registers.read(number(data, 1), wanted.length);
  if (!value) return undefined;
  const order = Buffer.compare(value, wanted);
  const operators = [order === 0, order !== 0, order < 0, order <= 0, order > 0, order >= 0];
  return operators[number(data, 2)];
}

function immediate(data: Attributes, registers: Registers): true | undefined | Verdict {
  const content = data.get(2);
  const attributes = content && attributesOf(content);
  const decision = attributes?.get(NFTA_DATA_VERDICT);
  if (!decision) {
    registers.write(number(data, 1), attributes?.get(NFTA_DATA_VALUE));
    return true;
  }
  const parts = attributesOf(decision);
  const code = VERDICTS.get((parts.get(NFTA_VERDICT_CODE)?.readInt32BE() ?? 0) as never);
  const chain = stringOf(parts.get(NFTA_VERDICT_CHAIN) ?? Buffer.alloc(0));
  return code && { code, chain };
}

/** The extensions of iptables that are in nearly every FORWARD chain. */
function extension(name: string, revision: number, info: Buffer = Buffer.alloc(0)): boolean | undefined {
  if (name === 'comment') return true;
  // struct xt_mark_mtinfo1: the mark is 0.
  if (name === 'mark' && revision === 1 && info.length >= 9) {
    return (info.readUInt32LE(0) === 0) !== (info.readUInt8(8) !== 0);
  }
  // struct xt_conntrack_mtinfo2 and 3: after the addresses, ports and expiry come what is compared, inverted, and the states.
  if (name === 'conntrack' && revision >= 2 && info.length >= 152) {
    const [STATE, NEW] = [1, 8];
    const [compared, inverted, states] = [
      info.readUInt16LE(146),
      info.readUInt16LE(148),
      info.readUInt16LE(150),
    ];
    if (!(compared & STATE)) return undefined;
    const holds = ((states & NEW) !== 0) !== ((inverted & STATE) !== 0);
    return holds && compared !== STATE ? undefined : holds;
  }
  return undefined;
}

function number(data: Attributes, type: number): number {
  return data.get(type)?.readUInt32BE() ?? 0;
}

function dataOf(content: Buffer | undefined): Buffer | undefined {
  return content && attributesOf(content).get(NFTA_DATA_VALUE);
}

function interfaceName(name: string): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.write(name.slice(0, 15));
  return bytes;
}

function be16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 0xff);
}

/** Conntrack keeps its numbers in the machine's order, and rules compare them so. */
function le32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
