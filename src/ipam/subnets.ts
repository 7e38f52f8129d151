import type { Pool } from '../cluster/pool.ts';
import { BITS, familyOf, ipFromBigInt, ipToBigInt } from '../ip/address.ts';
import { addressOf, type Cidr, cidrOf, lengthOf, sizeOf } from '../ip/cidr.ts';

/** flannel picks at random from this many, so that nodes starting together rarely pick the same subnet. */
const CANDIDATES = 100;

/** Number of subnets in the pool, from subnetMin to subnetMax. */
export function subnetCount(pool: Pool): bigint {
  return (ipToBigInt(pool.subnetMax) - ipToBigInt(pool.subnetMin)) / subnetSize(pool) + 1n;
}

/** Returns the subnet at `index`, counting from the one at subnetMin. */
export function subnetAt(pool: Pool, index: number | bigint): Cidr {
  const start = ipToBigInt(pool.subnetMin) + BigInt(index) * subnetSize(pool);
  return cidrOf(ipFromBigInt(familyOf(pool.cidr), start), pool.subnetLength);
}

/** Whether the pool could have produced this subnet. */
export function compatible(pool: Pool, subnet: Cidr): boolean {
  if (familyOf(subnet) !== familyOf(pool.cidr) || lengthOf(subnet) !== pool.subnetLength) return false;
  const start = ipToBigInt(addressOf(subnet));
  return start >= ipToBigInt(pool.subnetMin) && start <= ipToBigInt(pool.subnetMax);
}

/**
 * Picks a subnet that overlaps none of `taken`, at random from the first hundred free ones as flannel does;
 * undefined when the pool is exhausted. `random` is like Math.random. Run time depends on the number of taken
 * subnets, not on the size of the pool.
 */
export function chooseSubnet(pool: Pool, taken: readonly Cidr[], random: () => number): Cidr | undefined {
  const free = freeIndexes(pool, taken, CANDIDATES);
  const index = free[Math.floor(random() * free.length)];
  return index === undefined ? undefined : subnetAt(pool, index);
}

/** Returns the first free indexes: walks the taken networks in order, collecting the gaps between them. */
function freeIndexes(pool: Pool, taken: readonly Cidr[], wanted: number): bigint[] {
  const size = subnetSize(pool);
  const min = ipToBigInt(pool.subnetMin);
  const count = subnetCount(pool);
  const used = taken
    .filter((cidr) => familyOf(cidr) === familyOf(pool.cidr))
    .map((cidr) => {
      const start = ipToBigInt(addressOf(cidr)) - min;
      return { first: floorDiv(start, size), last: floorDiv(start + sizeOf(cidr) - 1n, size) };
    })
    .sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  const free: bigint[] = [];
  let next = 0n;
  for (const { first, last } of [...used, { first: count, last: count }]) {
    for (; next < first && next < count && free.length < wanted; next++) free.push(next);
    if (last >= next) next = last + 1n;
  }
  return free;
}

function subnetSize(pool: Pool): bigint {
  return 1n << BigInt(BITS[familyOf(pool.cidr)] - pool.subnetLength);
}

/** BigInt division truncates towards zero; networks before subnetMin need it rounded down. */
function floorDiv(a: bigint, b: bigint): bigint {
  return a >= 0n ? a / b : -((-a + b - 1n) / b);
}
