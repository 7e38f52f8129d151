import { evaluate, type Verdict } from './expression.ts';
import type { Packet } from './packet.ts';
import { Registers } from './registers.ts';
import type { BaseChain, Rule, Table } from './ruleset.ts';

/**
 * Returns whether a base chain certainly drops or rejects the packet. A packet that some rule may accept on
 * conditions we cannot evaluate (an iptables extension, a limit, a verdict map) does not count as dropped.
 */
export async function drops(chain: BaseChain, packet: Packet, table: Table): Promise<boolean> {
  const walk = new Walk(packet, table);
  const verdict = await walk.chain(chain.chain);
  if (walk.doubtful) return false;
  return verdict === 'drop' || (verdict === undefined && chain.policy === 'drop');
}

/**
 * Returns what becomes of a packet that these chains would decide if they were empty. `same`: it never gets
 * to them, or is accepted without them. `unclear`: some rule after them cannot be evaluated.
 */
export async function fateWithout(
  skipped: readonly string[],
  chain: BaseChain,
  packet: Packet,
  table: Table,
): Promise<'same' | 'dropped' | 'unclear'> {
  const walk = new Walk(packet, table, skipped);
  const verdict = await walk.chain(chain.chain);
  if (!walk.hasSkipped) return 'same';
  if (walk.doubtful) return 'unclear';
  if (verdict === 'drop' || (verdict === undefined && chain.policy === 'drop')) return 'dropped';
  return walk.mayDrop ? 'unclear' : 'same';
}

class Walk {
  /** A rule that we cannot evaluate may have accepted the packet. */
  doubtful = false;
  /** A rule that we cannot evaluate may have dropped it. */
  mayDrop = false;
  hasSkipped = false;
  readonly #packet: Packet;
  readonly #table: Table;
  readonly #skipped: readonly string[];

  constructor(packet: Packet, table: Table, skipped: readonly string[] = []) {
    this.#packet = packet;
    this.#table = table;
    this.#skipped = skipped;
  }

  /** Returns the chain's verdict; undefined when the packet leaves it undecided. */
  async chain(name: string): Promise<'accept' | 'drop' | undefined> {
    if (this.#skipped.includes(name)) {
      // What may have become of the packet before is none of their doing.
      this.doubtful = false;
      this.mayDrop = false;
      this.hasSkipped = true;
      return undefined;
    }
    for (const rule of await this.#table.rules(name)) {
      const { matches, verdict } = await this.#rule(rule);
      if (matches === false || !verdict) continue;
      const { code, chain } = verdict;
      const inner = code === 'jump' || code === 'goto' ? await this.chain(chain) : undefined;
      const decided = code === 'accept' || code === 'drop' ? code : inner;
      if (matches === undefined) {
        // Whether it matches makes no difference if it drops or leaves the decision to what follows.
        if (decided === 'drop') this.mayDrop = true;
        if (decided !== 'drop' && (decided === 'accept' || code !== 'jump')) this.doubtful = true;
        continue;
      }
      if (decided !== undefined || code !== 'jump') return decided;
    }
    return undefined;
  }

  /** `matches` is undefined if unknown. */
  async #rule(rule: Rule): Promise<{ matches: boolean | undefined; verdict?: Verdict }> {
    const registers = new Registers();
    let matches: boolean | undefined = true;
    let verdict: Verdict | undefined;
    for (const each of rule) {
      const result = await evaluate(each, this.#packet, registers, this.#table);
      if (result === false) return { matches: false };
      if (result === undefined || result === 'unclear') matches = undefined;
      if (result === 'unclear') verdict = { code: 'accept', chain: '' };
      else if (typeof result === 'object') verdict = result;
    }
    return { matches, ...(verdict && { verdict }) };
  }
}
