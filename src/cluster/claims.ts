import { BITS, type Family, familyOf, ipAdd } from '../ip/address.ts';
import { addressOf, type Cidr, cidrOf, contains, lengthOf } from '../ip/cidr.ts';

/** A node's claim to a subnet. */
export type Claim = {
  /** Where it is written. */
  readonly key: string;
  readonly owner: string;
  readonly cidr: Cidr;
  /** Smaller is older: the store's own count, the same for everybody who reads it. */
  readonly age: number;
};

/** Why no node may have the subnet; undefined if one may. */
export type Law = (cidr: Cidr) => string | undefined;

/**
 * Decides which claims count: those the law allows and, of different owners' overlapping ones, the oldest.
 * The order in which they arrive does not matter, so all nodes decide alike. A change costs only work for
 * the claims that overlap it.
 */
export class Claims {
  #law: Law;
  readonly #claims = new Map<Cidr, Claim[]>();
  /** The lawful subnets that are claimed, by length: usually there is only one. */
  readonly #lawful: Record<Family, Map<number, Set<Cidr>>> = { 4: new Map(), 6: new Map() };
  readonly #refusals = new Map<Claim, string>();
  readonly #touched = new Set<Cidr>();
  /** Claims deleted since the last `settle`. */
  readonly #gone = new Set<Claim>();

  constructor(law: Law = () => undefined) {
    this.#law = law;
  }

  set law(law: Law) {
    this.#law = law;
    for (const cidr of this.#claims.keys()) this.#touched.add(cidr);
  }

  add(claim: Claim): void {
    this.#claims.set(claim.cidr, [...(this.#claims.get(claim.cidr) ?? []), claim]);
    this.#touched.add(claim.cidr);
  }

  delete(claim: Claim): void {
    const left = this.#claims.get(claim.cidr)?.filter((each) => each !== claim) ?? [];
    if (left.length > 0) this.#claims.set(claim.cidr, left);
    else this.#claims.delete(claim.cidr);
    this.#touched.add(claim.cidr);
    this.#gone.add(claim);
  }

  /** Why a claim does not count; undefined if it does. As of the last `settle`. */
  refusal(claim: Claim): string | undefined {
    return this.#refusals.get(claim);
  }

  get refusals(): ReadonlyMap<Claim, string> {
    return this.#refusals;
  }

  /** Decides again where claims have changed. Returns the owners of those that began or ceased to count. */
  settle(): ReadonlySet<string> {
    const owners = new Set<string>();
    const decide = (claim: Claim, reason: string | undefined): void => {
      if ((this.#refusals.get(claim) === undefined) !== (reason === undefined)) owners.add(claim.owner);
      if (reason === undefined) this.#refusals.delete(claim);
      else this.#refusals.set(claim, reason);
    };
    for (const claim of this.#gone) decide(claim, undefined);
    for (const cidr of this.#touched) {
      const claims = this.#claims.get(cidr) ?? [];
      const crime = claims.length > 0 ? this.#law(cidr) : undefined;
      this.#index(cidr, claims.length > 0 && crime === undefined);
      if (crime !== undefined) for (const claim of claims) decide(claim, crime);
    }
    const decided = new Set<Cidr>();
    for (const cidr of this.#touched) {
      const widest = this.#widest(cidr);
      if (decided.has(widest)) continue;
      decided.add(widest);
      const claims = this.#within(widest).flatMap((each) => this.#claims.get(each) ?? []);
      const [only, ...others] = claims;
      if (only && others.length === 0) decide(only, undefined);
      else for (const [claim, reason] of judge(claims)) decide(claim, reason);
    }
    this.#touched.clear();
    this.#gone.clear();
    return owners;
  }

  #index(cidr: Cidr, isLawful: boolean): void {
    const lawful = this.#lawful[familyOf(cidr)];
    const length = lengthOf(cidr);
    const set = lawful.get(length) ?? new Set();
    if (isLawful) set.add(cidr);
    else set.delete(cidr);
    if (set.size > 0) lawful.set(length, set);
    else lawful.delete(length);
  }

  /** The widest lawful subnet that contains this one, or itself. */
  #widest(cidr: Cidr): Cidr {
    let widest = cidr;
    for (const [length, set] of this.#lawful[familyOf(cidr)]) {
      if (length >= lengthOf(widest)) continue;
      const wider = cidrOf(addressOf(cidr), length);
      if (set.has(wider)) widest = wider;
    }
    return widest;
  }

  /** The lawful subnets within a network. */
  #within(cidr: Cidr): Cidr[] {
    const found: Cidr[] = [];
    for (const [length, set] of this.#lawful[familyOf(cidr)]) {
      if (length < lengthOf(cidr)) continue;
      const parts = 2 ** (length - lengthOf(cidr));
      if (parts > set.size) found.push(...[...set].filter((each) => contains(cidr, each)));
      else for (const part of split(cidr, length)) if (set.has(part)) found.push(part);
    }
    return found;
  }
}

/** Lawful claims with the reason why one does not count: an older one of another owner overlaps it. */
function judge(claims: readonly Claim[]): Map<Claim, string | undefined> {
  const lengths = [...new Set(claims.map(({ cidr }) => lengthOf(cidr)))].sort((a, b) => a - b);
  const oldestFirst = claims.toSorted((a, b) => a.age - b.age || (a.key < b.key ? -1 : 1));
  /** Claims that count, by subnet and owner: under their own, and under each subnet that contains theirs. */
  const own = new Map<Cidr, Map<string, Claim>>();
  const inside = new Map<Cidr, Map<string, Claim>>();
  const put = (map: typeof own, cidr: Cidr, claim: Claim): void => {
    const owners = map.get(cidr) ?? new Map<string, Claim>();
    owners.set(claim.owner, owners.get(claim.owner) ?? claim);
    map.set(cidr, owners);
  };
  const others = (owners: ReadonlyMap<string, Claim> | undefined, claim: Claim): Claim | undefined =>
    owners && [...owners.values()].find(({ owner }) => owner !== claim.owner);
  const judged = new Map<Claim, string | undefined>();
  for (const claim of oldestFirst) {
    const { cidr } = claim;
    const around = lengths
      .filter((length) => length <= lengthOf(cidr))
      .map((length) => (length === lengthOf(cidr) ? cidr : cidrOf(addressOf(cidr), length)));
    const older = [...around.map((wider) => own.get(wider)), inside.get(cidr)]
      .map((owners) => others(owners, claim))
      .find((found) => found !== undefined);
    judged.set(
      claim,
      older && `${cidr} of ${claim.owner} overlaps ${older.cidr} of ${older.owner}, which is older`,
    );
    if (older) continue;
    put(own, cidr, claim);
    for (const wider of around) put(inside, wider, claim);
  }
  return judged;
}

/** The subnets of a length in a network. */
function* split(cidr: Cidr, length: number): Generator<Cidr> {
  const size = 1n << BigInt(BITS[familyOf(cidr)] - length);
  const count = 1n << BigInt(length - lengthOf(cidr));
  for (let i = 0n; i < count; i++) yield cidrOf(ipAdd(addressOf(cidr), i * size), length);
}
