import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkIpam } from '../../../src/ipam/blocks/check.ts';
import { IpamKeys } from '../../../src/ipam/blocks/keys.ts';
import { DEFAULT_CONFIG, encodeConfig } from '../../../src/ipam/blocks/record.ts';
import { removeNode } from '../../../src/ipam/blocks/remove-node.ts';
import { EtcdKv } from '../../../src/store/etcd.ts';
import type { ServerProcess } from '../../store/servers.ts';
import { PREFIX } from './plan.ts';

/** How long; a few seconds unless FLATNET_HAMMER_SECONDS says otherwise. */
export const SECONDS = Number(process.env.FLATNET_HAMMER_SECONDS ?? 6);
const WORKERS = 3;
const NODES_EACH = 2;

/**
 * Nodes in several processes take and give addresses of one small network, in which they borrow, take over
 * and run dry, while the processes are killed again and again, and the store now and then. All the while the
 * checker must be content. In the end no address may have been two owners' at a time, by what the nodes wrote
 * down, and everything must come back.
 */
export async function hammer(t: TestContext, server: ServerProcess, killStore: boolean): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), `flatnet-hammer-${process.pid}-`));
  const kv = new EtcdKv({ endpoints: [server.endpoint] });
  const keys = new IpamKeys(PREFIX);
  const workers = Array.from({ length: WORKERS }, (_, i) => new Worker(server.endpoint, folder, i));
  t.after(() => {
    for (const worker of workers) worker.kill('SIGKILL');
    kv.close();
    rmSync(folder, { recursive: true, force: true });
  });
  await kv.put(keys.config, encodeConfig({ ...DEFAULT_CONFIG, maxBlocksPerHost: 3, cooldown: 5 }));
  for (const worker of workers) worker.start();

  const end = performance.now() + SECONDS * 1000;
  let [checks, kills, borrowed] = [0, 0, 0];
  while (performance.now() < end) {
    await sleep(100 + Math.random() * 200);
    const report = await checkIpam(kv, keys);
    const errors = report.findings.filter(({ severity }) => severity === 'error');
    assert.deepEqual(errors, [], 'the checker is content under load');
    checks++;
    borrowed += report.counts.borrowed;
    const worker = workers[Math.floor(Math.random() * WORKERS)];
    if (Math.random() < 0.4 && worker) {
      await worker.kill('SIGKILL');
      worker.start();
      kills++;
    }
    if (killStore && Math.random() < 0.05) {
      await server.kill('SIGKILL');
      await server.restart();
    }
  }
  for (const worker of workers) await worker.kill('SIGTERM');
  const { holds, addresses } = assertNeverTwice(folder);
  t.diagnostic(`${addresses} addresses held ${holds} times; ${kills} kills, ${checks} checks`);
  assert.ok(holds > SECONDS * 2, `addresses were held only ${holds} times`);
  assert.ok(borrowed > 0, 'nothing was ever borrowed');

  for (let round = 0; round < 2; round++) {
    for (const node of workers.flatMap((worker) => worker.nodes)) await removeNode(kv, keys, node);
  }
  const { findings, counts } = await checkIpam(kv, keys);
  assert.deepEqual(findings, []);
  assert.deepEqual(counts, { blocks: 0, addresses: 0, borrowed: 0, handles: 0, nodes: 0 });
}

class Worker {
  readonly nodes: readonly string[];
  readonly #argv: readonly string[];
  #process: ChildProcess | undefined;
  #complaints = '';

  constructor(endpoint: string, folder: string, index: number) {
    this.nodes = Array.from({ length: NODES_EACH }, (_, i) => `node${index * NODES_EACH + i}`);
    const main = join(import.meta.dirname, 'hammer-worker.ts');
    this.#argv = ['--disable-warning=ExperimentalWarning', main, endpoint, folder, ...this.nodes];
  }

  start(): void {
    const child = spawn(process.execPath, this.#argv, { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.on('data', (chunk) => (this.#complaints += chunk));
    this.#process = child;
  }

  /** Fails when the process had ended by itself. */
  async kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#process;
    if (!child) return;
    this.#process = undefined;
    const ended = child.exitCode;
    const exit = ended === null ? once(child, 'exit') : undefined;
    child.kill(signal);
    await exit;
    assert.equal(this.#complaints, '');
    assert.equal(ended, null);
  }
}

type Hold = { readonly handle: string; readonly from: bigint; until: bigint };
const FOR_EVER = 2n ** 63n;

/** The nodes' clock is one: CLOCK_MONOTONIC. A hold as written down lies within the hold as it was. */
function assertNeverTwice(folder: string): { holds: number; addresses: number } {
  const holds = new Map<string, Hold[]>();
  for (const file of readdirSync(folder)) {
    const open = new Map<string, Hold[]>();
    for (const line of readFileSync(join(folder, file), 'utf8').trimEnd().split('\n')) {
      const [time = '', word, handle = '', ip = ''] = line.split(' ');
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
      assert.ok(last.until < next.from, `${ip} is ${last.handle}'s and ${next.handle}'s at once`);
      return next;
    });
  }
  return { holds: [...holds.values()].flat().length, addresses: holds.size };
}
