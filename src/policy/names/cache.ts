import type { Ip } from '../../ip/address.ts';
import { Allowance } from './allowance.ts';
import type { Answer } from './answer.ts';

/**
 * Seconds for which an address holds beyond its TTL: programs begin to count later, and few ask anew for each
 * connection.
 */
const GRACE = 60;
/** Seconds: no TTL counts for more. */
const LONGEST_TTL = 24 * 3600;
/** The most addresses of names, once for each name, that one pod's answers bring. */
const MOST_PER_ASKER = 1000;

/** That a name has an address, by an answer to a pod. `until`: milliseconds, of the cache's clock. */
export type Known = { readonly asker: Ip; readonly name: string; readonly ip: Ip; readonly until: number };

/**
 * The addresses that answers to this node's pods have given for names, as long as they hold. What one pod was
 * told holds for all, but each is remembered apart, so that no pod can make the answers to another forgotten:
 * of a pod with too many, those go that would run out first.
 */
export class NameCache {
  readonly #now: () => number;
  readonly #askers = new Map<Ip, { readonly allowance: Allowance; readonly known: Map<string, Known> }>();
  #names: ReadonlyMap<Ip, readonly string[]> = new Map();
  #isStale = false;

  /** `now`: milliseconds of a clock that never goes back. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** The names of each address. The same object until they change, and so each address's list. */
  get names(): ReadonlyMap<Ip, readonly string[]> {
    if (this.#isStale) this.#names = this.#union();
    this.#isStale = false;
    return this.#names;
  }

  /** All that is known, for as long as it holds. */
  get all(): readonly Known[] {
    return [...this.#askers.values()].flatMap(({ known }) => [...known.values()]);
  }

  /** Whether the answer says anything new. A pod that brings too much news in short time brings none. */
  learn(asker: Ip, { name, addresses }: Answer): boolean {
    const now = this.#now();
    const isNews = addresses.some(({ ip }) => !this.#isKnown(keyOf(ip, name)));
    if (isNews && !this.#of(asker).allowance.take(now)) return false;
    for (const { ip, ttl } of addresses)
      this.#note({ asker, name, ip, until: now + (Math.min(ttl, LONGEST_TTL) + GRACE) * 1000 });
    this.#trim(asker);
    return isNews;
  }

  /** Learns what another cache knew; of that, nothing holds for longer than anything learned now. */
  restore(all: Iterable<Known>): void {
    const latest = this.#now() + (LONGEST_TTL + GRACE) * 1000;
    for (const each of all) this.#note({ ...each, until: Math.min(each.until, latest) });
    for (const asker of this.#askers.keys()) this.#trim(asker);
  }

  /** The addresses of which something has run out. */
  get due(): readonly Ip[] {
    const now = this.#now();
    return [...new Set(this.all.flatMap(({ ip, until }) => (until <= now ? [ip] : [])))];
  }

  /**
   * Forgets what has run out, except that addresses in use hold on, so that established connections do; and
   * whatever is not wanted any more.
   */
  forget(isWanted: (name: string) => boolean, inUse: ReadonlySet<Ip>): void {
    const now = this.#now();
    for (const [asker, { known }] of this.#askers) {
      for (const [key, each] of known) {
        if (!isWanted(each.name) || (each.until <= now && !inUse.has(each.ip))) known.delete(key);
        else if (each.until <= now) known.set(key, { ...each, until: now + GRACE * 1000 });
      }
      if (known.size === 0) this.#askers.delete(asker);
    }
    this.#isStale = true;
  }

  #of(asker: Ip): { readonly allowance: Allowance; readonly known: Map<string, Known> } {
    const own = this.#askers.get(asker) ?? { allowance: new Allowance(this.#now()), known: new Map() };
    this.#askers.set(asker, own);
    return own;
  }

  #isKnown(key: string): boolean {
    return [...this.#askers.values()].some(({ known }) => known.has(key));
  }

  #note(each: Known): void {
    const { known } = this.#of(each.asker);
    const key = keyOf(each.ip, each.name);
    const last = known.get(key);
    if (last && last.until >= each.until) return;
    known.set(key, each);
    if (!last) this.#isStale = true;
  }

  /** Once an answer, which may have hundreds of addresses. */
  #trim(asker: Ip): void {
    const { known } = this.#of(asker);
    const excess = known.size - MOST_PER_ASKER;
    if (excess <= 0) return;
    const byEnd = [...known].toSorted(([, a], [, b]) => a.until - b.until);
    for (const [key] of byEnd.slice(0, excess)) known.delete(key);
  }

  #union(): ReadonlyMap<Ip, readonly string[]> {
    const found = new Map<Ip, Set<string>>();
    for (const { ip, name } of this.all) found.set(ip, (found.get(ip) ?? new Set()).add(name));
    let isSame = found.size === this.#names.size;
    const next = new Map<Ip, readonly string[]>();
    for (const [ip, names] of found) {
      const last = this.#names.get(ip);
      const isKept = last?.length === names.size && last.every((name) => names.has(name));
      isSame &&= isKept;
      next.set(ip, isKept ? last : [...names].sort());
    }
    return isSame ? this.#names : next;
  }
}

function keyOf(ip: Ip, name: string): string {
  return `${ip} ${name}`;
}
