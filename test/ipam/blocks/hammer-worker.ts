// Runs some of the hammer's nodes in a process that can be killed: hammer-worker.ts ENDPOINT FOLDER NODE...
// Each node logs to FOLDER/NODE: `TIME hold HANDLE IP` after getting an address, `TIME free HANDLE` before
// releasing it.
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { IpPool, IpReservation } from '../../../src/cluster/resources.ts';
import { codeOf } from '../../../src/error.ts';
import type { Family } from '../../../src/ip/address.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { BlockAssigner, type BlockAssignerOptions } from '../../../src/ipam/blocks/block-assigner.ts';
import { BlockUpkeep } from '../../../src/ipam/blocks/upkeep.ts';
import { EtcdBlocks } from '../../../src/store/etcd/blocks.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import { PREFIX, pool } from './plan.ts';
import { hooked, StepHooks } from './steps.ts';

const [endpoint = '', folder = '', ...nodes] = process.argv.slice(2);
/** Time runs fast: one minute takes 600 ms. */
const HASTE = 100;
const LOOPS = 2;
/** Probability of the process ending itself between two steps. */
const DEADLY = 1 / 400;
const MOST_PODS = 16;
/** Expected errors: a full network, a killed store, a hundred lost races. */
const EXPECTED = ['OUT_OF_ADDRESSES', 'STORE_UNAVAILABLE', 'STORE_CONFLICT', 'ADDRESS_TAKEN'];

let stopping = false;
process.on('SIGTERM', () => {
  stopping = true;
});

await Promise.all(nodes.map(run));

async function run(node: string): Promise<void> {
  const kv = new EtcdKv({ endpoints: [endpoint], timeout: 2_000 });
  const steps = new StepHooks();
  steps.before = dieNow;
  steps.after = dieNow;
  const options: BlockAssignerOptions = {
    store: hooked(new EtcdBlocks(kv, PREFIX), steps),
    node,
    nodeLabels: () => ({}),
    resources: () => resources(node),
    clock: () => Date.now() * HASTE,
  };
  const assigner = new BlockAssigner(options);
  const upkeep = new BlockUpkeep(assigner, options);
  const held = readHeld(node);
  /** Includes requests in progress. */
  const live = new Set(held.keys());
  const loops = Array.from({ length: LOOPS }, async () => {
    while (!stopping) {
      await act(node, assigner, held, live).catch(expected);
      await sleep(Math.random() * 5);
    }
  });
  while (!stopping) {
    await sleep(20);
    await upkeep.releaseEmptyBlocks().catch(expected);
    const isLive = async (handle: string): Promise<boolean> => live.has(handle);
    const everywhere = Math.random() < 0.3;
    await upkeep.collectGarbage({ live: new Set(live), isLive }, 0, everywhere).catch(expected);
  }
  await Promise.all(loops);
  kv.close();
}

async function act(
  node: string,
  assigner: BlockAssigner,
  held: Map<string, readonly string[]>,
  live: Set<string>,
): Promise<void> {
  const families = [[4], [6], [4, 6]] as const;
  const dice = Math.random();
  const [handle] = [...held.keys()].toSorted(() => Math.random() - 0.5);
  if (dice < 0.5 && live.size < MOST_PODS) {
    const id = `${node}-${crypto.randomUUID()}`;
    live.add(id);
    const wanted: readonly Family[] = families[Math.floor(Math.random() * 3)] ?? [4];
    // From any pool, including disabled and deleted ones, reserved or not.
    const wish = `10.${1 + Math.floor(Math.random() * 3)}.0.${Math.floor(Math.random() * 16)}`;
    const requested = wanted.includes(4) && Math.random() < 0.2 ? [parseIp(wish)] : [];
    try {
      const request = { handle: id, families: wanted, attributes: { pod: id }, requested };
      const assigned = await assigner.assign(request);
      const ips = assigned.map(({ ip }) => ip);
      if (ips.length !== wanted.length) throw new Error(`${id} requested ${wanted}, got ${ips}`);
      for (const ip of ips) note(node, 'hold', id, ip);
      held.set(id, ips);
    } catch (error) {
      live.delete(id);
      if (requested.length === 0 || codeOf(error) !== 'CONFIG_INVALID') throw error;
    }
  } else if (handle === undefined) return;
  else if (dice < 0.65) {
    const before = held.get(handle) ?? [];
    const again = await assigner.assign({ handle, families: before.map(family), attributes: {} });
    // The other loop may have released it in the meantime; garbage collection then frees what this returned.
    const ips = again.map(({ ip }) => ip);
    if (held.has(handle) && `${ips}` !== `${before}`) throw new Error(`${handle} had ${before}, has ${ips}`);
  } else {
    note(node, 'free', handle);
    held.delete(handle);
    live.delete(handle);
    await assigner.release(handle);
  }
}

/**
 * Pools change their blockSize (an edit is refused, but a pool may be deleted and recreated), are disabled,
 * grow, shrink and disappear, and addresses are reserved; nodes learn of each change at different times.
 */
function resources(node: string): {
  readonly ipPools: readonly IpPool[];
  readonly ipReservations: readonly IpReservation[];
} {
  const phase = Math.floor((Date.now() + 300 * Number(node.slice(-1))) / 1500);
  const cut = phase % 3 === 1 ? 28 : 29;
  const ipPools = [
    pool('a', '10.1.0.0/27', cut),
    pool('b', '10.2.0.0/28', 29, { disabled: phase % 3 === 2 }),
    pool('c', 'fd00::/123', cut + 96),
    ...(phase % 5 === 0 ? [] : [pool('d', phase % 2 === 0 ? '10.3.0.0/29' : '10.3.0.0/28', 29)]),
  ];
  const kept = { name: 'kept', cidrs: ['10.1.0.0/30', '10.1.0.16/29', 'fd00::4/126'].map(parseCidr) };
  return { ipPools, ipReservations: phase % 4 < 2 ? [] : [kept] };
}

/** An external kill rarely hits a process between two steps, so it also ends itself there now and then. */
function dieNow(): void {
  if (Math.random() < DEADLY) process.kill(process.pid, 'SIGKILL');
}

function family(ip: string): 4 | 6 {
  return ip.includes(':') ? 6 : 4;
}

function note(node: string, ...words: string[]): void {
  appendFileSync(join(folder, node), `${process.hrtime.bigint()} ${words.join(' ')}\n`);
}

/** Reads what the previous process held when it was killed. */
function readHeld(node: string): Map<string, readonly string[]> {
  const held = new Map<string, readonly string[]>();
  const file = join(folder, node);
  for (const line of existsSync(file) ? readFileSync(file, 'utf8').split('\n') : []) {
    const [, word, handle = '', ip = ''] = line.split(' ');
    if (word === 'hold') held.set(handle, [...(held.get(handle) ?? []), ip]);
    if (word === 'free') held.delete(handle);
  }
  return held;
}

function expected(error: unknown): void {
  if (!EXPECTED.includes(codeOf(error) ?? '')) throw error;
}
