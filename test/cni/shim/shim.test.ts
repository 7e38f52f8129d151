// Compares shim.c with the program it stands in for: same output and status for any input.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { AGENT_FILE } from '../../../src/cni/shim/agent-file.ts';
import { FALLBACK } from '../../../src/cni/shim/install.ts';
import { NO_SHIM, SHIM } from '../shim.ts';
import { longMissed } from './long-missed.ts';

const SOURCE = join(import.meta.dirname, '../../../src/cni/shim/shim.c');

/** Compiles with sanitizers where possible; their reports go to stderr and change the status. */
const SANITIZED = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-g', '-O1'];

/** The fake agent's behaviour on every connection. */
type Behaviour = {
  /** Pieces of the reply, sent `pause` ms apart. */
  readonly pieces: readonly Uint8Array[];
  readonly pause: number;
  readonly finally: 'close' | 'reset' | 'wait';
  /** Reply before reading anything. */
  readonly early: boolean;
};

type Env = Readonly<Record<string, string>>;
type Outcome = { readonly stdout: string; readonly stderr: string; readonly status: number | null };

/** For `skip`: without a C compiler the fallback is installed instead. */
const NOT_NATIVE =
  NO_SHIM || (statSync(SHIM).size > 10_000_000 && 'no C compiler built the shim: apt-get install musl-tools');

describe('the native shim', { skip: NOT_NATIVE }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-shim-'));
  const [bin, lone, other] = [join(dir, 'bin'), join(dir, 'lone'), join(dir, 'other')];
  const fallback = join(dirname(SHIM), FALLBACK);
  const socket = join(dir, 'agent.sock');
  const place = { socket, stateDir: join(dir, 'state') };
  let behaviour: Behaviour = answer('');
  let requests: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (client) => void serve(client, behaviour));

  before(async () => {
    for (const each of [bin, lone, other]) mkdirSync(each);
    for (const compiler of ['gcc', 'cc', 'clang']) {
      if (spawnSync(compiler, [...SANITIZED, SOURCE, '-o', join(bin, 'flatnet')]).status === 0) break;
      copyFileSync(SHIM, join(bin, 'flatnet'));
    }
    symlinkSync(fallback, join(bin, FALLBACK));
    copyFileSync(join(bin, 'flatnet'), join(lone, 'flatnet'));
    writeFileSync(join(bin, AGENT_FILE), JSON.stringify(place));
    await new Promise<void>((resolve) => server.listen(socket, resolve));
  });
  after(() => {
    for (const each of sockets) each.destroy();
    server.close();
    rmSync(dir, { recursive: true });
  });

  async function serve(client: Socket, { pieces, pause, finally: end, early }: Behaviour): Promise<void> {
    sockets.add(client);
    client.on('error', () => undefined).on('close', () => sockets.delete(client));
    let request = '';
    const asked = new Promise<void>((resolve) => {
      client.on('data', (chunk) => {
        request += chunk;
        if (request.endsWith('\n')) resolve();
      });
      client.on('close', () => resolve());
    });
    if (!early) {
      await asked;
      requests.push(request);
    }
    for (const [i, piece] of pieces.entries()) {
      if (i > 0) await sleep(pause);
      client.write(piece);
    }
    if (end === 'close') client.end();
    if (end === 'reset') client.destroy();
  }

  function run(
    program: string,
    env: Env,
    stdin: Uint8Array | string,
    args: readonly string[] = [],
  ): Promise<Outcome> {
    const child = spawn(program, args, { env: { ...env }, stdio: 'pipe', cwd: dir });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('latin1').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(stdin);
    return new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (status) => resolve({ stdout, stderr, status }));
    });
  }

  async function same(env: Env, stdin: Uint8Array | string): Promise<Outcome> {
    const ours = await run(join(bin, 'flatnet'), env, stdin);
    assert.deepEqual(ours, await run(fallback, env, stdin));
    return ours;
  }

  const environment = (command: string): Env => ({
    CNI_COMMAND: command,
    CNI_CONTAINERID: 'c0ffee',
    CNI_NETNS: '/run/netns/none',
    CNI_IFNAME: 'eth0',
    CNI_PATH: `/no/such:${bin}`,
    CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAME=web-0',
  });
  const configuration = { cniVersion: '1.1.0', name: 'cbr0', type: 'flatnet', ...place };

  test('handles ordinary calls by itself, sending what the full program sends', async () => {
    behaviour = answer('{"cniVersion":"1.1.0","ips":[],"text":"\\\\ \\n can’t"}\n');
    const stdin = JSON.stringify({ ...configuration, prevResult: { text: 'a "quoted" \\ one' } });
    for (const command of ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS']) {
      requests = [];
      const { stdout, status } = await run(join(lone, 'flatnet'), environment(command), stdin);
      assert.equal(status, 0, stdout);
      await same(environment(command), stdin);
      const [native, again, whole] = requests.map((text) => JSON.parse(text));
      assert.deepEqual(native, whole);
      assert.deepEqual(again, whole);
    }
    behaviour = answer('{"code":11}\n', 1);
    assert.equal((await run(join(lone, 'flatnet'), environment('ADD'), stdin)).status, 1);
  });

  test('without the full program next to it, it returns a CNI error', async () => {
    const { stdout, status } = await run(join(lone, 'flatnet'), environment('VERSION'), '{}');
    assert.deepEqual([JSON.parse(stdout).msg, status], ['flatnet-fallback: No such file or directory', 1]);
  });

  test('keeps its time limit even if the caller blocks SIGALRM', async () => {
    behaviour = { pieces: [], pause: 0, finally: 'wait', early: false };
    longMissed(place.socket);
    const free = setTimeout(() => sockets.forEach((each) => void each.destroy()), 10_000);
    const start = performance.now();
    const args = ['--block-signal=ALRM', join(bin, 'flatnet')];
    const stdin = JSON.stringify(configuration);
    const { stdout } = await run('/usr/bin/env', environment('STATUS'), stdin, args);
    clearTimeout(free);
    assert.match(stdout, /"code":50,.*did not answer within 3000 ms/);
    assert.ok(performance.now() - start < 8000);
  });

  test('the time limit covers the whole reply, from a silent agent or a trickling one', async () => {
    longMissed(place.socket);
    const drip = Array.from({ length: 40 }, () => Buffer.from(' '));
    for (const each of [[], drip]) {
      behaviour = { pieces: each, pause: 200, finally: 'wait', early: false };
      const start = performance.now();
      const outcome = await run(join(bin, 'flatnet'), environment('STATUS'), JSON.stringify(configuration));
      assert.match(outcome.stdout, /"code":50,.*did not answer within 3000 ms/);
      assert.equal(outcome.status, 1);
      const took = performance.now() - start;
      assert.ok(took > 2990 && took < 5500, `${took} ms`);
    }
  });

  test('an absent agent', async () => {
    const gone = { socket: join(dir, 'none.sock'), stateDir: join(dir, 'state') };
    writeFileSync(join(other, AGENT_FILE), JSON.stringify(gone));
    longMissed(gone.socket);
    for (const command of ['ADD', 'DEL', 'STATUS']) {
      const env = { ...environment(command), CNI_PATH: other };
      const { status } = await same(env, JSON.stringify({ ...configuration, ...gone }));
      assert.equal(status, command === 'DEL' ? 0 : 1);
    }
  });

  test('odd descriptors and bytes', async () => {
    // The agent must be absent: this thread blocks while the programs run.
    const gone = { socket: join(dir, 'none.sock'), stateDir: join(dir, 'state') };
    writeFileSync(join(other, AGENT_FILE), JSON.stringify(gone));
    const conf = JSON.stringify({ ...configuration, ...gone });
    const odd = [
      '<&-',
      '>&-',
      '2>&-',
      '<&- >&- 2>&-',
      '</dev/null',
      `<<'END'\n${conf}\nEND`,
      `< <(printf '\\xff\\xfe{}')`,
      `< <(printf '\\xef\\xbb\\xbf%s' '${conf}')`,
      `< <(printf '%s\\x00' '${conf}')`,
      `< <(printf '%s' '${conf.slice(0, 20)}'; sleep 0.1; printf '%s' '${conf.slice(20)}')`,
    ];
    const both = (script: string): void => {
      const [ours, theirs] = [join(bin, 'flatnet'), fallback].map((program) => {
        const env = {
          ...environment('ADD'),
          PROGRAM: program,
          CNI_PATH: other,
          PATH: process.env.PATH ?? '',
        };
        const options = { env, encoding: 'latin1', timeout: 10_000 } as const;
        const { stdout, stderr, status } = spawnSync('bash', ['-c', script], options);
        return { stdout, stderr, status };
      });
      assert.deepEqual(ours, theirs, script);
    };
    for (const redirection of odd) both(`exec "$PROGRAM" ${redirection}`);
    for (const value of ['\\xff', '\\xc3', 'a\\x01b', '\\xc3\\xa4', 'a\\nb', '\\t"\\\\\\\\']) {
      both(`CNI_ARGS=$(printf '${value}') exec "$PROGRAM" <<<'${conf}'`);
    }
  });

  test('any environment, input and reply', async () => {
    const odd = fc.oneof(
      fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', '')),
      fc.constantFrom('', 'eth0', 'a"b', 'a\\b', 'a\nb', 'x'.repeat(100_000)),
    );
    const env = fc.record(
      {
        CNI_COMMAND: fc.constantFrom('ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION', 'add', '', 'ADD '),
        CNI_CONTAINERID: odd,
        CNI_IFNAME: odd,
        CNI_NETNS: odd,
        CNI_ARGS: odd,
        CNI_PATH: fc.constantFrom(bin, bin, `${other}:${bin}`, `${bin}:${other}`, `:${bin}`, other, '/none'),
        EXTRA: odd,
      },
      { requiredKeys: ['CNI_COMMAND', 'CNI_PATH'] },
    );
    const agentFile = fc.constantFrom(
      JSON.stringify(place),
      JSON.stringify(place, undefined, 2),
      JSON.stringify({ ...place, socket: join(dir, 'none.sock') }),
      JSON.stringify({ stateDir: place.stateDir, socket }),
      '{"socket":"',
      `{"socket":"${'/x'.repeat(3000)}"}`,
      'null',
      '',
    );
    const named = fc.constantFrom(socket, socket, join(dir, 'none.sock'), `${socket}x`);
    const conf = fc.record(
      {
        cniVersion: fc.constantFrom('1.1.0', '0.3.1', 'x', 7),
        name: fc.constantFrom('cbr0', '', 'a b', 'ä'),
        type: fc.constant('flatnet'),
        // Always set: a real agent may listen at the default.
        socket: named,
        stateDir: fc.constant(place.stateDir),
        ipam: fc.record({ type: fc.constant('flatnet'), socket: named }, { requiredKeys: ['type'] }),
        runtimeConfig: fc.jsonValue(),
        prevResult: fc.oneof(fc.jsonValue(), fc.record({ socket: named }), fc.constant('"socket":"/x"')),
      },
      { requiredKeys: ['socket', 'stateDir'] },
    );
    const encodings: readonly ((text: string) => string | Uint8Array)[] = [
      (text) => text,
      (text) => text,
      (text) => JSON.stringify(JSON.parse(text), undefined, 2),
      (text) => text.replaceAll('socket', 's\\u006fcket'),
      (text) => text.replaceAll('"socket":', '"socket" : '),
      (text) => ` ${text}`,
      (text) => `\ufeff${text}`,
      (text) => `${text}\0`,
      (text) => text.slice(0, -3),
      (text) => text.replace('{', `{"pad":"${'x'.repeat(200_000)}",`),
      (text) => text.replace('{', `{"pad":"${'"'.repeat(0)}${'x'.repeat(300_000)}",`),
      (text) => text.replace('{', `{"pad":"${'x'.repeat(1 << 20)}",`),
      (text) => Buffer.concat([Buffer.from(text), Buffer.from([0xff, 0xc3])]),
      () => '',
      () => '[]',
    ];
    const stdin = fc
      .tuple(conf, fc.constantFrom(...encodings))
      .map(([value, encode]) => encode(JSON.stringify(value)));
    const reply = fc.oneof(
      {
        weight: 3,
        arbitrary: fc
          .tuple(fc.jsonValue(), fc.constantFrom(0, 1, 7, 10, 255))
          .map(([value, exit]) => `${JSON.stringify({ stdout: JSON.stringify(value), exit })}\n`),
      },
      fc
        .tuple(fc.string({ unit: 'binary' }), fc.constantFrom(0, 1))
        .map(([stdout, exit]) => `${JSON.stringify({ stdout, exit })}\n`),
      fc.constantFrom(
        '',
        '\n',
        '{}\n',
        'null\n',
        '{"stdout":"","exit":0}',
        '{"exit":1,"stdout":"x"}\n',
        '{"stdout":"x","exit":"1"}\n',
        '{"stdout":"x","exit":01}\n',
        '{"stdout":"x","exit":1,"more":2}\n',
        '{"stdout":"x","exit":1} \n',
        '{"stdout":"x","exit":1}\n\n',
        '{"stdout":"x","exit":1}\n{"stdout":"y","exit":0}\n',
        '{"stdout":"x\\',
        '{"stdout":"\\u0041\\u00e4\\ud83d","exit":0}\n',
        '{"stdout":"x\0y","exit":0}\n',
        '{"error":{"code":"USAGE","message":"no such op"}}\n',
        `{"stdout":"${'x'.repeat(900_000)}","exit":0}\n`,
        `{"stdout":"${'x'.repeat(1_100_000)}","exit":0}\n`,
      ),
    );
    const agent = fc.record({
      reply,
      cuts: fc.array(fc.nat(60), { maxLength: 3 }),
      // Waiting forever after half a reply would take the full time limit; tested above.
      finally: fc.constantFrom('close', 'close', 'reset' as const),
      garbage: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        env,
        agentFile,
        stdin,
        agent,
        async (vars, file, text, { reply, cuts, finally: end, garbage }) => {
          writeFileSync(join(other, AGENT_FILE), file);
          const bytes = Buffer.from(reply);
          const ends = cuts.toSorted((a, b) => a - b);
          const pieces = [0, ...ends].map((from, i) => bytes.subarray(from, ends[i] ?? bytes.length));
          behaviour = {
            pieces: garbage ? [Buffer.from([0xff, 0]), ...pieces] : pieces,
            pause: 2,
            finally: end,
            early: false,
          };
          const { stderr } = await same(vars as Env, text);
          assert.doesNotMatch(stderr, /Sanitizer|runtime error/);
        },
      ),
      { numRuns: 60 },
    );
  });
});

function answer(stdout: string, exit = 0): Behaviour {
  return {
    pieces: [Buffer.from(`${JSON.stringify({ stdout, exit })}\n`)],
    pause: 0,
    finally: 'close',
    early: false,
  };
}
