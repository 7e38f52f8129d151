import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LEASES, type LeaseRecord, readLease } from '../../../src/kubernetes/election/lease-record.ts';
import { eventually } from '../../store/servers.ts';
import { ApiServer, NO_API_SERVER } from '../api-server.ts';
import { serviceAccount } from '../service-account.ts';

/** Of the lease, in seconds: enough for a busy machine to renew it in time. */
const DURATION = 6;

/** A candidate's process, and what it said. */
class Candidate {
  readonly identity: string;
  readonly said: { readonly what: string; readonly at: number }[] = [];
  readonly #child: ChildProcess;

  constructor(t: TestContext, server: ApiServer, token: string, identity: string) {
    this.identity = identity;
    const main = join(import.meta.dirname, 'candidate-main.ts');
    const args = [main, server.url, server.ca, token, identity, String(DURATION)];
    this.#child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let rest = '';
    this.#child.stdout?.on('data', (data) => {
      const lines = (rest + data).split('\n');
      rest = lines.pop() ?? '';
      for (const [what = '', at] of lines.map((line) => line.split(' ')))
        this.said.push({ what, at: Number(at) });
    });
    t.after(() => this.end('SIGKILL'));
  }

  get isLeading(): boolean {
    const last = this.said.at(-1);
    return this.isRunning && last !== undefined && last.what !== 'end';
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    if (!this.isRunning) return;
    // Then all that it said has arrived.
    const closed = once(this.#child, 'close');
    this.#child.kill(signal);
    await closed;
  }
}

describe('leader election on a real API server', { skip: NO_API_SERVER }, () => {
  test('three candidates, one leader: killed, ended, cut off', async (t) => {
    const server = await ApiServer.start(t);
    const admin = server.client(t);
    const rules = [
      { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'create', 'update'] },
    ];
    const token = await serviceAccount(admin, 'candidate', rules);
    const all = ['a', 'b', 'c'].map((identity) => new Candidate(t, server, token, identity));
    const leaders = (): Candidate[] => all.filter((each) => each.isLeading);
    const leader = (): Promise<Candidate> => eventually(() => leaders()[0], 60_000);
    const lease = async (): Promise<LeaseRecord> =>
      readLease(await admin.get(LEASES, { namespace: 'default', name: 'test' }));

    const first = await leader();
    assert.equal((await lease()).holder, first.identity);
    await sleep(DURATION * 1000);
    assert.deepEqual(leaders(), [first], 'it renews its lease');

    await first.end('SIGKILL');
    const renewed = Date.parse((await lease()).renewed);
    const second = await leader();
    const took = (second.said[0]?.at ?? 0) - renewed;
    t.diagnostic(`a killed leader was replaced ${took} ms after its last renewal, good for ${DURATION} s`);
    assert.ok(took > DURATION * 1000);

    // The server goes away: the leader gives up before anybody else may lead.
    const killedAt = Date.now();
    await server.kill();
    await eventually(() => leaders().length === 0, 60_000);
    const gaveUp = second.said.at(-1)?.at ?? 0;
    assert.ok(gaveUp - killedAt < DURATION * 1000, `after ${gaveUp - killedAt} ms`);
    await server.launch();
    const third = await leader();

    // One that ends lets go at once.
    const others = all.filter((each) => each !== third && each.isRunning);
    await third.end('SIGTERM');
    assert.equal(third.said.at(-1)?.what, 'end');
    assert.notEqual((await lease()).holder, third.identity);
    await eventually(() => others.some((each) => each.isLeading), 60_000);
    assert.ok(second.said.length > 0);

    // At no time did two lead.
    const moments = all.flatMap(({ identity, said }) => said.map(({ what, at }) => ({ identity, what, at })));
    moments.sort((one, other) => one.at - other.at);
    const turns = moments.filter(({ identity }, i) => identity !== moments[i - 1]?.identity);
    assert.ok(
      turns.every(({ what }) => what === 'begin'),
      JSON.stringify(turns),
    );
    assert.ok((await lease()).transitions >= 2);
  });
});
