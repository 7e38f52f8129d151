import { readFile } from 'node:fs/promises';
import { background, logFailure } from '../../async/background.ts';
import { Backoff } from '../../async/backoff.ts';
import { keepUp } from '../../async/keep-up.ts';
import { Latest } from '../../async/latest.ts';
import { aborted, nextTurn, pause } from '../../async/pause.ts';
import { within } from '../../async/within.ts';
import { codeOf, messageOf } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import type { Log } from '../../log.ts';
import { readAnswer } from '../../policy/names/answer.ts';
import { NameCache } from '../../policy/names/cache.ts';
import { readDatagram } from '../../policy/names/datagram.ts';
import { nameservers } from '../../policy/names/resolvers.ts';
import { type Moment, readNames, savedNames } from '../../policy/names/saved.ts';
import type { Observed } from '../../policy/names/table.ts';
import { isWanted, type Wanted } from '../../policy/names/wanted.ts';
import type { KnownNames } from '../../policy/node/contributions.ts';
import { type Problem, warning } from '../../problem.ts';
import { replaceFileFlushed } from '../../replace-file.ts';
import { openAnswers } from './answers.ts';
import { addressesInUse } from './in-use.ts';

/** Milliseconds for which an answer with news is held at most. Resolvers of pods wait for some seconds. */
const LONGEST_HOLD = 2000;
/** Milliseconds between two looks at what has run out, and at the node's resolvers. */
const TICK = 15_000;
/** Milliseconds before what has been learned is written down, with what else comes until then. */
const GATHER = 1000;
/** Milliseconds between two attempts to listen. */
const RETRY = { first: 1000, longest: 30_000 };

/** Where hosts say who resolves names for them; the second behind systemd-resolved's own address. */
const RESOLV_CONF = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf'];

export type NameWatchOptions = {
  /** The names in force; undefined while nobody knows. */
  readonly wanted: () => Wanted | undefined;
  readonly setNames: (names: KnownNames) => void;
  /** Resolves once the kernel holds what follows from the names that were set. */
  readonly applied: () => Promise<unknown>;
  /** Where what is known outlives the agent. */
  readonly file: string;
  readonly log: Log;
  /** A path; by default the thread's own. */
  readonly netns?: string | undefined;
  readonly resolvConf?: readonly string[];
};

export type NamesStatus = {
  /** Absent: not at all. */
  readonly observed?: Observed;
  readonly names: number;
  readonly addresses: number;
};

/** Watches the answers that pods of this node get about names in policies, and learns addresses from them. */
export class NameWatch {
  readonly #options: NameWatchOptions;
  readonly #cache = new NameCache(() => performance.now());
  #resolvers: readonly Ip[] = [];
  #observed: Observed | undefined;
  #problem: Problem | undefined;
  /** What lets the answers go on whose news the kernel does not know yet. */
  #held: (() => void)[] = [];
  #isTelling = false;
  readonly #saving: Latest;
  readonly #needed = Promise.withResolvers<void>();

  constructor(options: NameWatchOptions) {
    this.#options = options;
    const save = () => replaceFileFlushed(options.file, savedNames(this.#cache.all, now()), 0o600);
    this.#saving = new Latest('save known names', save, { log: options.log, gather: GATHER });
  }

  /** Other policies may be in force now. */
  noticed(): void {
    if (this.#isNeeded) this.#needed.resolve();
  }

  get problems(): readonly Problem[] {
    return this.#problem && this.#isNeeded ? [this.#problem] : [];
  }

  /** Absent: no policy has names. */
  get status(): NamesStatus | undefined {
    if (!this.#isNeeded) return undefined;
    const { names } = this.#cache;
    return {
      ...(this.#observed && { observed: this.#observed }),
      names: new Set([...names.values()].flat()).size,
      addresses: names.size,
    };
  }

  /** What is known from before: to be awaited before anything is computed. */
  async recall(): Promise<void> {
    const { file, log } = this.#options;
    try {
      this.#cache.restore(readNames(await readFile(file, 'utf8'), now()));
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') log.warn({ file, error: messageOf(error) }, 'known names are ignored');
    }
    await this.#forget();
    this.#resolvers = await this.#readResolvers();
    this.#tell();
  }

  /** Listens, as soon as it is needed, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const options = { signal, log, backoff: new Backoff(RETRY) };
    background(
      'listen to answers',
      keepUp('listen to answers', () => this.#listen(signal), options),
      log,
      signal,
    );
    while (await pause(TICK, signal)) await this.#tick();
    await this.#saving[Symbol.asyncDispose]();
  }

  get #isNeeded(): boolean {
    return this.#options.wanted()?.areAny ?? false;
  }

  async #listen(signal: AbortSignal): Promise<void> {
    await Promise.race([this.#needed.promise, aborted(signal)]);
    if (signal.aborted) return;
    try {
      const answers = await openAnswers({ netns: this.#options.netns, signal });
      this.#problem = answers.observed === 'copied' ? copied(answers.reason) : undefined;
      this.#observed = answers.observed;
      this.#tell();
      await answers.run((packet, pass) => this.#take(packet, pass));
    } catch (error) {
      this.#problem = unobserved(messageOf(error));
      throw error;
    }
  }

  #take(packet: Buffer, pass: () => void): void {
    if (!this.#learns(packet)) {
      pass();
      return;
    }
    this.#held.push(pass);
    background('apply what names stand for', this.#applyNews(), this.#options.log);
  }

  /** Whether the packet brings news about names that are wanted. */
  #learns(packet: Buffer): boolean {
    const datagram = readDatagram(packet);
    const patterns = this.#options.wanted()?.patterns;
    if (!datagram || !patterns) return false;
    const answer = readAnswer(datagram.payload, (name) => isWanted(name, patterns));
    if (!answer) return false;
    this.#saving.push();
    return this.#cache.learn(datagram.to, answer);
  }

  /** For all answers of a turn at once. */
  async #applyNews(): Promise<void> {
    if (this.#isTelling) return;
    this.#isTelling = true;
    await nextTurn();
    this.#isTelling = false;
    const held = this.#held;
    this.#held = [];
    try {
      this.#tell();
      await within(LONGEST_HOLD, this.#options.applied(), undefined);
    } finally {
      // What is not in force is denied: the answer itself does no harm.
      for (const pass of held) pass();
    }
  }

  #tell(): void {
    this.#options.setNames({
      addresses: this.#cache.names,
      ...(this.#observed && { observed: this.#observed }),
      resolvers: this.#resolvers,
    });
  }

  async #tick(): Promise<void> {
    const [names, resolvers] = [this.#cache.names, this.#resolvers];
    await this.#forget();
    const found = await this.#readResolvers();
    if (found.join() !== resolvers.join()) this.#resolvers = found;
    if (this.#cache.names !== names || this.#resolvers !== resolvers) this.#tell();
  }

  async #forget(): Promise<void> {
    const { wanted, netns, log } = this.#options;
    const { due } = this.#cache;
    let inUse: ReadonlySet<Ip> = new Set();
    try {
      if (due.length > 0) inUse = await addressesInUse(due, netns);
    } catch (error) {
      logFailure('look for connections to addresses that have run out', error, log);
    }
    const patterns = wanted()?.patterns;
    this.#cache.forget((name) => patterns === undefined || isWanted(name, patterns), inUse);
  }

  async #readResolvers(): Promise<readonly Ip[]> {
    const { resolvConf = RESOLV_CONF, log } = this.#options;
    const found = new Set<Ip>();
    for (const path of resolvConf) {
      try {
        for (const ip of nameservers(await readFile(path, 'utf8'))) found.add(ip);
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') log.debug({ path, error: messageOf(error) }, 'not read');
      }
    }
    return [...found].sort();
  }
}

function now(): Moment {
  return { steady: performance.now(), wall: Date.now() };
}

function copied(reason: string | undefined): Problem {
  return warning(
    'names-observed-late',
    'a pod’s first connection to a domain name’s new address may be tried before it is allowed',
    reason,
    'modprobe nft_queue, on a kernel with CONFIG_NFT_QUEUE',
  );
}

function unobserved(cause: string): Problem {
  const what = 'domain names in policies gain no addresses, and connections to new ones are denied';
  return {
    id: 'names-unobserved',
    severity: 'error',
    what,
    cause,
    fix: 'modprobe nft_queue, or nfnetlink_log',
  };
}
