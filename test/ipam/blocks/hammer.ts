import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { counts, findings } from '../../../src/ipam/blocks/check.ts';
import { removeNode } from '../../../src/ipam/blocks/forget-node.ts';
import { EtcdBlocks } from '../../../src/store/etcd/blocks.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import { DEFAULT_IPAM_CONFIG, type IpamConfig } from '../../../src/store/ports/blocks.ts';
import type { ServerProcess } from '../../store/servers.ts';
import { assertAdvertised, PREFIX } from './plan.ts';

/** Duration: a few seconds, unless FLATNET_HAMMER_SECONDS is set. */
export const SECONDS = Number(process.env.FLATNET_HAMMER_SECONDS ?? 6);
/** A busy machine gets more time, so that every kind of event happens at least once. */
const LONGEST = Math.max(120, SECONDS);
/**
 * The hammer-worker.ts of another release (from `git worktree add`), for the first worker. Both releases then
 * change the same keys.
 */
const OTHER_RELEASE = process.env.FLATNET_HAMMER_OTHER;
const WORKERS = 3;
const NODES_EACH = 2;

/**
 * Nodes in several processes assign and release addresses of one small network, borrowing, taking over blocks
 * and running out. Meanwhile pools change, borrowing is disabled and enabled, processes are killed repeatedly
 * (also between any two steps), nodes are deleted and recreated, and the store stalls or is killed now and
 * then. The checker must report no error throughout. At the end, according to the nodes' logs, no address may
 * have had two owners at once, and everything must have been released.
 */
export async function hammer(t: TestContext, server: ServerProcess, killStore: boolean): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), `flatnet-hammer-${process.pid}-`));
  const kv = new EtcdKv({ endpoints: [server.endpoint] });
  const store = new EtcdBlocks(kv, PREFIX);
  const workers = Array.from({ length: WORKERS }, (_, i) => new Worker(server.endpoint, folder, i));
  t.after(() => {
    for (const worker of workers) void worker.kill('SIGKILL');
    kv.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const configure = (strictAffinity: boolean): Promise<IpamConfig> =>
    store.configure({ ...DEFAULT_IPAM_CONFIG, maxBlocksPerHost: 3, cooldown: 5, strictAffinity });
  await configure(false);
  for (const worker of workers) worker.start();

  const started = performance.now();
  const runs = (seconds: number): boolean => performance.now() - started < seconds * 1000;
  let [checks, kills, deaths, borrowed, removals, outages] = [0, 0, 0, 0, 0, 0];
  const isEnough = (): boolean =>
    borrowed > 0 && kills > 2 && deaths > 2 && removals > 0 && holdsIn(folder).length > 50;
  while (runs(SECONDS) || (runs(LONGEST) && !isEnough())) {
    await sleep(100 + Math.random() * 200);
    const snapshot = await store.snapshot();
    const errors = findings(snapshot).filter(({ severity }) => severity === 'error');
    assert.deepEqual(errors, [], 'the checker finds no errors under load');
    assertAdvertised(snapshot);
    checks++;
    borrowed += counts(snapshot).borrowed;
    const worker = workers[Math.floor(Math.random() * WORKERS)];
    for (const dead of workers.filter(({ hasDied }) => hasDied)) {
      deaths++;
      dead.start();
    }
    if (Math.random() < 0.4 && worker?.hasWorked) {
      await worker.kill('SIGKILL');
      kills++;
      if (Math.random() < 0.5) {
        removals++;
        for (const node of worker.nodes) {
          noteRemoval(folder, node);
          await removeNode(store, node);
        }
      }
      worker.start();
    }
    if (Math.random() < 0.15) await configure(Math.random() < 0.3);
    if (Math.random() < 0.05) {
      outages++;
      if (killStore) {
        await server.kill('SIGKILL');
        await sleep(Math.random() * 500);
        await server.restart();
      } else {
        server.process.kill('SIGSTOP');
        await sleep(Math.random() * 3000);
        server.process.kill('SIGCONT');
      }
    }
  }
  for (const worker of workers) await worker.kill('SIGTERM');
  const { holds, addresses } = assertNeverTwice(folder);
  t.diagnostic(
    `${addresses} addresses held ${holds} times; ${kills} kills, ${deaths} deaths between two steps, ${removals} removals, ${outages} outages, ${checks} checks that saw ${borrowed} borrowed`,
  );
  assert.ok(isEnough(), 'too little happened for the test to be meaningful');

  for (let round = 0; round < 2; round++) {
    for (const node of workers.flatMap((worker) => worker.nodes)) await removeNode(store, node);
  }
  const left = await store.snapshot();
  assert.deepEqual(findings(left), []);
  assert.deepEqual(counts(left), { blocks: 0, addresses: 0, borrowed: 0, handles: 0, nodes: 0 });
}

class Worker {
  readonly nodes: readonly string[];
  readonly #argv: readonly string[];
  readonly #folder: string;
  #notes = 0;
  #process: ChildProcess | undefined;
  #complaints = '';

  constructor(endpoint: string, folder: string, index: number) {
    this.nodes = Array.from({ length: NODES_EACH }, (_, i) => `node${index * NODES_EACH + i}`);
    const main = (index === 0 && OTHER_RELEASE) || join(import.meta.dirname, 'hammer-worker.ts');
    this.#folder = folder;
    this.#argv = ['--disable-warning=ExperimentalWarning', main, endpoint, folder, ...this.nodes];
  }

  /** Whether it has logged anything since its start; until then, killing it would test nothing. */
  get hasWorked(): boolean {
    return this.#notes !== this.#countNotes();
  }

  /** Whether it ended itself between two steps. */
  get hasDied(): boolean {
    return this.#process?.signalCode === 'SIGKILL';
  }

  start(): void {
    this.#notes = this.#countNotes();
    const child = spawn(process.execPath, this.#argv, { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.on('data', (chunk) => (this.#complaints += chunk));
    this.#process = child;
  }

  #countNotes(): number {
    return this.nodes.flatMap((node) => notesIn(join(this.#folder, node))).length;
  }

  /** Fails when the process has already ended by itself. */
  async kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#process;
    if (!child) return;
    const diedAtStep = this.hasDied;
    this.#process = undefined;
    const ended = child.exitCode;
    const exit = ended === null && !diedAtStep ? once(child, 'exit') : undefined;
    child.kill(signal);
    await exit;
    assert.equal(this.#complaints, '');
    assert.equal(ended, null);
  }
}

/** Logs that a removed machine holds nothing any more. */
function noteRemoval(folder: string, node: string): void {
  const file = join(folder, node);
  const open = new Set<string>();
  for (const [, word, handle = ''] of notesIn(file)) {
    if (word === 'hold') open.add(handle);
    if (word === 'free') open.delete(handle);
  }
  for (const handle of open) appendFileSync(file, `${process.hrtime.bigint()} free ${handle}\n`);
}

function notesIn(file: string): string[][] {
  const text = existsSync(file) ? readFileSync(file, 'utf8').trimEnd() : '';
  return text === '' ? [] : text.split('\n').map((line) => line.split(' '));
}

function holdsIn(folder: string): string[][] {
  return readdirSync(folder)
    .flatMap((file) => notesIn(join(folder, file)))
    .filter(([, word]) => word === 'hold');
}

type Hold = { readonly handle: string; readonly from: bigint; until: bigint };
const FOR_EVER = 2n ** 63n;

/** All nodes share one clock, CLOCK_MONOTONIC. A logged hold lies within the actual hold. */
function assertNeverTwice(folder: string): { holds: number; addresses: number } {
  const holds = new Map<string, Hold[]>();
  for (const file of readdirSync(folder)) {
    const open = new Map<string, Hold[]>();
    for (const [time = '', word, handle = '', ip = ''] of notesIn(join(folder, file))) {
      if (word === 'hold') {
        const hold: Hold = { handle, from: BigInt(time), until: FOR_EVER };
        holds.set(ip, [...(holds.get(ip) ?? []), hold]);
        open.set(handle, [...(open.get(handle) ?? []), hold]);
      } else for (const hold of open.get(handle) ?? []) hold.until = BigInt(time);
    }
  }
  for (const [ip, list] of holds) {
    list.sort((a, b) => (a.from < b.from ? -1 : 1));
    list.reduce((last, next) => {
      assert.ok(last.until < next.from, `${ip} is held by ${last.handle} and ${next.handle} at once`);
      return next;
    });
  }
  return { holds: [...holds.values()].flat().length, addresses: holds.size };
}
