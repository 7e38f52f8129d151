import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { BirdFiles } from '../../../../src/companions/bird/daemon/files.ts';
import { HeldBird } from '../../../../src/companions/bird/daemon/held.ts';
import { BIRD, NO_BIRD } from '../bird.ts';
import { Cluster, until, watch } from '../underlay.ts';

const skip = NO_BIRD || (process.geteuid?.() !== 0 ? 'needs root' : false);
const SOURCE = join(import.meta.dirname, '../../../../tools/holder/bird-holder.c');
const NAMES = ['n1', 'n2', 'n3'];

/** A cluster whose n1 has its BIRD in a container: in process IDs, it is one of its own. */
class HeldCluster {
  readonly cluster: Cluster;
  readonly socket: string;
  readonly host: HeldBird;
  readonly #program: string;

  constructor(t: TestContext) {
    this.cluster = new Cluster(t);
    const { folder } = this.cluster.underlay;
    this.#program = join(folder, 'bird-holder');
    execFileSync('cc', ['-std=c11', '-Wall', '-Wextra', '-Werror', SOURCE, '-o', this.#program]);
    for (const _ of NAMES) this.cluster.node();
    this.socket = join(folder, 'holder.sock');
    this.cluster.holders.set('n1', this.socket);
    this.host = new HeldBird(new BirdFiles(join(folder, 'n1')), this.socket);
  }

  /** Starts a container. */
  container(program = BIRD ?? 'bird'): ChildProcess {
    const own = ['unshare', '--pid', '--fork', '--kill-child=SIGTERM', '--mount-proc'];
    return this.cluster.underlay.start('n1', ...own, this.#program, this.socket, program);
  }

  async held(program?: string): Promise<ChildProcess> {
    const container = this.container(program);
    await until('the holder answers', () => this.answers());
    return container;
  }

  answers(): Promise<boolean> {
    return this.host.kill().then(
      () => existsSync(this.socket),
      () => false,
    );
  }

  /** The process ids of n1's BIRD. Not the time it says it was started at, which varies by a millisecond. */
  pids(): string {
    const socket = join(this.cluster.underlay.folder, 'n1/bird.ctl');
    return spawnSync('pgrep', ['-f', socket], { encoding: 'utf8' }).stdout;
  }

  async whole(): Promise<void> {
    const { underlay } = this.cluster;
    await until('all routes are there, and no BIRD is recovering', async () => {
      for (const name of NAMES) {
        if (underlay.routes(name).length + underlay.routes(name, 6).length !== 6) return false;
        const bird = this.cluster.bird(name);
        const [daemon, protocols] = await Promise.all([bird.daemon(), bird.protocols()]).catch(() => []);
        const sessions = protocols?.filter(({ type }) => type === 'BGP') ?? [];
        if (daemon?.recovering !== false || sessions.length !== 4) return false;
        if (!sessions.every(({ info, keepsStale }) => info === 'Established' && !keepsStale)) return false;
      }
      return true;
    });
  }
}

test('a BIRD in a container of its own', { skip, timeout: 120_000 }, async (t) => {
  const held = new HeldCluster(t);
  const { cluster } = held;
  const { underlay } = cluster;

  await t.test('without the container, what is missing is said', async () => {
    await assert.rejects(cluster.apply('n1'), /ask the container of BIRD .*kube-flatnet-bird/);
    const container = await held.held('/nonexistent/bird');
    await assert.rejects(cluster.apply('n1'), /\/nonexistent\/bird: No such file or directory/);
    const ended = once(container, 'exit');
    container.kill('SIGKILL');
    await ended;
  });

  let container = await held.held();
  await cluster.apply();
  await held.whole();
  const watched = await Promise.all(NAMES.map((name) => watch(underlay, name)));
  const changes = (): string[] => watched.flatMap((seen) => seen());

  await t.test('it outlives the agent, and the next one takes it over', async () => {
    const before = held.pids();
    await cluster.leave('n1');
    assert.equal(await held.host.runs(), true);
    await assert.rejects(held.host.start(['-f']), /BIRD runs already/);
    await cluster.apply('n1');
    assert.equal(held.pids(), before);
    await held.whole();
  });

  await t.test('one that crashes comes back, and no route is lost', async () => {
    await held.host.kill();
    await until('it runs again', () => held.host.runs());
    await held.whole();
    assert.deepEqual(changes(), []);
  });

  await t.test('so does one whose container is replaced; two containers have one BIRD', async () => {
    const next = held.container();
    const before = held.pids();
    assert.equal(await held.host.runs(), true);
    assert.equal(held.pids(), before, 'the second container waits');
    // The holder then gets SIGTERM, as from a kubelet; unshare itself would ignore that.
    container.kill('SIGKILL');
    container = next;
    await until('the next container runs BIRD', async () => {
      const now = held.pids();
      return now !== '' && now !== before && (await held.host.runs());
    });
    await held.whole();
    assert.deepEqual(changes(), []);
  });

  await t.test('an agent that runs BIRD itself, and back: there is never a second one', async () => {
    for (const holder of [undefined, held.socket]) {
      await cluster.leave('n1');
      if (holder === undefined) cluster.holders.delete('n1');
      else cluster.holders.set('n1', holder);
      await cluster.apply('n1');
      assert.equal(await held.host.runs(), holder !== undefined);
      assert.match(held.pids(), /^\d+\n$/);
      await held.whole();
    }
    assert.deepEqual(changes(), []);
  });

  await t.test('what is no request harms nobody', async () => {
    for (const input of ['', 'state', 'a'.repeat(100_000), 'a\0'.repeat(100), 'start\0', 'kill\0x\0', '\0']) {
      const socket = connect(held.socket, () => socket.end(input));
      socket.on('error', () => {});
      socket.resume();
      await new Promise((resolve) => socket.once('close', resolve));
      assert.equal(await held.host.runs(), true, JSON.stringify(input.slice(0, 10)));
    }
    await held.whole();
  });
});
