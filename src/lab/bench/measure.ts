import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { codeOf, FlatnetError, messageOf } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';

/** From one network namespace to an address in another. */
export type Path = { readonly from: string; readonly to: string; readonly address: Ip };

export type Sample = {
  /** Of one TCP stream, in Gb/s. */
  readonly throughput: number;
  /** Of small packets sent one after another, in microseconds: the mean. */
  readonly roundTrip: number;
  /** Processor time of the whole machine while the stream passed, in milliseconds per gigabit. */
  readonly processor: number;
};

export type Effort = {
  /** Of a stream. */
  readonly seconds: number;
  /** Packets for the round trip. */
  readonly pings: number;
  /** Marks the programs as the lab's, so that they end with it. */
  readonly env: Readonly<Record<string, string>>;
};

/** Seconds beyond those of a stream, after which nothing will come. */
const PATIENCE = 30;

const execute = promisify(execFile);

/** Throws NOT_FOUND if a program that measures is not installed. */
export async function requireMeters(): Promise<void> {
  await requireMeter('iperf3', ['--version'], /iperf 3/, 'iperf3');
  // Busybox's cannot flood.
  await requireMeter('ping', ['-V'], /iputils/, 'iputils-ping');
}

async function requireMeter(program: string, words: string[], is: RegExp, source: string): Promise<void> {
  const { stdout } = await execute(program, words).catch(() => ({ stdout: '' }));
  if (is.test(stdout)) return;
  throw new FlatnetError('is not installed; lab bench measures with it', {
    code: 'NOT_FOUND',
    object: `${program} of ${source}`,
    fix: `install ${source}`,
  });
}

export async function sample(path: Path, effort: Effort): Promise<Sample> {
  return { roundTrip: await roundTrip(path, effort), ...(await stream(path, effort)) };
}

/** Of each figure by itself. */
export function median(samples: readonly Sample[]): Sample {
  const of = (which: keyof Sample): number => {
    const sorted = samples.map((each) => each[which]).toSorted((a, b) => a - b);
    return sorted[sorted.length >> 1] ?? Number.NaN;
  };
  return { throughput: of('throughput'), roundTrip: of('roundTrip'), processor: of('processor') };
}

async function roundTrip({ from, address }: Path, { pings, env }: Effort): Promise<number> {
  const words = ['ping', '-n', '-q', '-f', '-c', `${pings}`, address];
  const { stdout } = await inside(from, words, env);
  const mean = Number(/= [\d.]+\/([\d.]+)\//.exec(stdout)?.[1]);
  if (Number.isFinite(mean)) return 1000 * mean;
  throw failure('ping', address, stdout);
}

async function stream(
  { from, to, address }: Path,
  { seconds, env }: Effort,
): Promise<Omit<Sample, 'roundTrip'>> {
  const [file, ...args] = within(to, ['iperf3', '--server', '--one-off', '--forceflush', '--bind', address]);
  const server = spawn(file ?? '', args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(server, 'exit');
  try {
    // It says that it listens.
    await Promise.race([once(server.stdout, 'data'), ended]);
    const words = ['iperf3', '--client', address, '--omit', '1', '--time', `${seconds}`, '--json'];
    const before = busy();
    const begun = performance.now();
    const { stdout } = await inside(from, words, env, seconds);
    const milliseconds = performance.now() - begun;
    const throughput = JSON.parse(stdout).end?.sum_received?.bits_per_second / 1e9;
    if (!Number.isFinite(throughput)) throw failure('iperf3', address, stdout);
    return { throughput, processor: (busy() - before) / ((throughput * milliseconds) / 1000) };
  } finally {
    server.kill('SIGKILL');
    await ended;
  }
}

/** Processor time that is not idle, in milliseconds since the start (proc(5), /proc/stat). */
function busy(): number {
  const [user = 0, nice = 0, system = 0, , , interrupts = 0, soft = 0] =
    /^cpu +(.*)/.exec(readFileSync('/proc/stat', 'utf8'))?.[1]?.split(' ').map(Number) ?? [];
  return 10 * (user + nice + system + interrupts + soft);
}

function within(netns: string, words: readonly string[]): readonly string[] {
  return ['nsenter', `--net=${netns}`, ...words];
}

async function inside(
  netns: string,
  words: readonly string[],
  env: object,
  seconds = 0,
): Promise<{ stdout: string }> {
  const [file = '', ...args] = within(netns, words);
  try {
    const timeout = 1000 * (seconds + PATIENCE);
    return await execute(file, args, { env: { ...process.env, ...env }, timeout });
  } catch (error) {
    if (codeOf(error) === 'ENOENT') throw error;
    const { stdout = '' } = error as { readonly stdout?: string };
    throw failure(words[0] ?? '', words.at(-1) ?? '', stdout || messageOf(error));
  }
}

function failure(program: string, object: string, text: string): FlatnetError {
  const cause = text.trim().split('\n').slice(-3).join('; ');
  return new FlatnetError(`${program} measured nothing: ${cause}`, {
    code: 'INTERNAL',
    operation: 'lab bench',
    object,
  });
}
