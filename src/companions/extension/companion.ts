import { rm } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { Backoff } from '../../async/backoff.ts';
import { forEachLimited } from '../../async/each.ts';
import { Latest } from '../../async/latest.ts';
import { pause } from '../../async/pause.ts';
import { untilDone } from '../../async/until-done.ts';
import {
  type Command,
  type ExtensionFacts,
  type ExtensionOptions,
  extension,
} from '../../backends/extension.ts';
import { Fields } from '../../cluster/fields.ts';
import { NO_RESOURCES } from '../../cluster/resources.ts';
import { messageOf } from '../../error.ts';
import type { Problem } from '../../problem.ts';
import type { ClusterFacts, Companion, CompanionContext, CompanionKind, SettledFacts } from '../companion.ts';
import { type Lease, leasesOf, ownVariables } from './leases.ts';
import { Peers } from './peers.ts';
import { Records } from './records.ts';
import { runCommand } from './run-command.ts';

/** How often a command is tried when the backend is given up. */
const LAST_TRIES = 3;
/** Commands that run at once then. */
const AT_ONCE = 4;
/** Milliseconds that all of that may take: until then the next change of backend waits. */
const LAST_PATIENCE = 3 * 60_000;
/** Milliseconds. */
const FIRST_RETRY = 1000;
const LONGEST_RETRY = 30_000;

const NOT_STARTED = 'the backend extension has not started yet';
const NOT_PREPARED = 'PreStartupCommand has not ended yet';
const NOT_ALLOWED =
  'Backend.Type extension runs commands of the network’s configuration as root, which this agent has not been allowed: ' +
  'start it with --allow-extension, or set allowExtension to true in its configuration file, or in the chart’s values';

/** The companion of backend `extension`: runs the configuration's commands, as flannel does. */
export const extensionCompanion: CompanionKind = {
  start: (context) => new ExtensionCompanion(context),
  end: endExtension,
};

class ExtensionCompanion implements Companion<ExtensionFacts> {
  readonly #context: CompanionContext;
  readonly #stopping = new AbortController();
  readonly #records: Records;
  readonly #peers: Peers;
  readonly #preparing: Latest<ExtensionOptions>;
  readonly #following: Latest<SettledFacts>;
  #facts: ExtensionFacts | undefined;
  #settled: SettledFacts | undefined;
  /** The configuration it acts by. */
  #source: object | undefined;
  #options: ExtensionOptions | undefined;
  /** Why PreStartupCommand, and PostStartupCommand, have not succeeded yet. */
  #unprepared: string | undefined = NOT_STARTED;
  #unstarted: string | undefined = NOT_STARTED;

  constructor(context: CompanionContext) {
    const signal = AbortSignal.any([context.signal, this.#stopping.signal]);
    const { log } = context;
    this.#context = { ...context, signal };
    this.#records = new Records(context.folders.run);
    this.#peers = new Peers({ records: this.#records, log, signal });
    const prepare = (options: ExtensionOptions, superseded: AbortSignal) =>
      this.#prepare(options, superseded);
    this.#preparing = new Latest('run PreStartupCommand', prepare, { log, signal });
    const follow = (settled: SettledFacts, superseded: AbortSignal) => this.#follow(settled, superseded);
    this.#following = new Latest('follow the leases', follow, { log, signal });
  }

  /** Ends commands that are running; the next agent runs them again. What they have done stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await Promise.all([this.#preparing.idle(), this.#following.idle()]);
    await this.#peers.idle();
  }

  get facts(): ExtensionFacts | undefined {
    return this.#facts;
  }

  get problem(): string | undefined {
    if (!this.#context.allowExtension) return NOT_ALLOWED;
    return this.#unprepared ?? this.#unstarted;
  }

  get withholds(): string | undefined {
    if (!this.#context.allowExtension) return NOT_ALLOWED;
    return this.#facts ? undefined : this.#unprepared;
  }

  get warnings(): readonly Problem[] {
    return this.#peers.problems;
  }

  learn({ network }: ClusterFacts): void {
    if (!this.#context.allowExtension || network.backend.options === this.#source) return;
    this.#source = network.backend.options;
    const options = optionsFrom(network.backend.options);
    if (isDeepStrictEqual(options, this.#options)) return;
    this.#options = options;
    // Before anything is done, so that it can be undone.
    this.#records.create();
    this.#records.writeOptions(network.backend.options);
    const { preStartup } = options;
    const known = this.#records.own('pre-startup');
    if (!preStartup) this.#prepared(undefined);
    else if (known?.command === preStartup.text) this.#prepared(known.output);
    else this.#unprepared = NOT_PREPARED;
    // Also ends the attempts for a former configuration.
    this.#preparing.push(options);
  }

  update(settled: SettledFacts): void {
    if (!this.#context.allowExtension) return;
    const last = this.#settled;
    this.#settled = settled;
    const isSame =
      last?.nodes === settled.nodes &&
      last.self === settled.self &&
      last.network === settled.network &&
      last.isComplete === settled.isComplete;
    if (!isSame) this.#following.push(settled);
  }

  async #prepare(options: ExtensionOptions, superseded: AbortSignal): Promise<void> {
    const { preStartup } = options;
    if (!preStartup) return;
    const command = preStartup.text;
    const known = this.#records.own('pre-startup');
    if (known?.command === command) return;
    const output = await this.#untilRun(preStartup, options, {}, superseded, (reason) => {
      this.#unprepared = reason;
    });
    this.#records.writeOwn('pre-startup', { command, variables: {}, output });
    if (options !== this.#options) return;
    this.#prepared(output);
    if (this.#settled) this.#following.push(this.#settled);
    this.#context.changed();
  }

  #prepared(data: string | undefined): void {
    this.#unprepared = undefined;
    if (!this.#facts || this.#facts.data !== data) this.#facts = { data };
  }

  async #follow(settled: SettledFacts, superseded: AbortSignal): Promise<void> {
    // As a known node's peers may be before it has started, after a reboot.
    if (this.#unprepared !== undefined) return;
    const { self, nodes, network, resources, isComplete = false } = settled;
    const options = optionsFrom(network.backend.options);
    await this.#startUp(options, ownVariables(self, network), superseded);
    this.#peers.follow(leasesOf(self, nodes, network, resources), options, isComplete);
  }

  /** PostStartupCommand, once for what it is told. */
  async #startUp(
    options: ExtensionOptions,
    variables: Readonly<Record<string, string>>,
    superseded: AbortSignal,
  ): Promise<void> {
    const { postStartup } = options;
    if (postStartup) {
      const command = postStartup.text;
      const known = this.#records.own('post-startup');
      if (known?.command !== command || !isDeepStrictEqual(known.variables, variables)) {
        const output = await this.#untilRun(postStartup, options, variables, superseded, (reason) => {
          this.#unstarted = reason;
        });
        this.#records.writeOwn('post-startup', { command, variables, output });
      }
    }
    this.#unstarted = undefined;
  }

  #untilRun(
    command: Command,
    { timeout }: ExtensionOptions,
    variables: Readonly<Record<string, string>>,
    superseded: AbortSignal,
    failed: (reason: string) => void,
  ): Promise<string> {
    const { log, signal } = this.#context;
    // Newer facts do not cut off what is running, but are looked at before it is tried again.
    const run = () => runCommand(command, { variables, input: '', timeout, signal });
    return untilDone(`run ${command.name}`, run, {
      signal: superseded,
      log,
      failed,
      backoff: new Backoff({ first: FIRST_RETRY, longest: LONGEST_RETRY }),
    });
  }
}

/** Runs SubnetRemoveCommand for whatever was added. What cannot be removed is logged, and left. */
async function endExtension({ folders, log, allowExtension, signal }: CompanionContext): Promise<void> {
  const records = new Records(folders.run);
  const source = records.options();
  const options = source && optionsFrom(source);
  const inTime = AbortSignal.timeout(LAST_PATIENCE);
  const within = AbortSignal.any([signal, inTime]);
  await forEachLimited(AT_ONCE, [...records.leases()], async ([key, lease]) => {
    try {
      if (!allowExtension) throw new Error(NOT_ALLOWED);
      if (options) await removeAtLast(lease, options, within);
    } catch (error) {
      signal.throwIfAborted();
      const reason = inTime.aborted ? `not removed within ${LAST_PATIENCE / 1000} s` : messageOf(error);
      log.warn({ node: lease.node, error: reason }, 'what was added for a node stays');
    }
    records.removeLease(key);
  });
  await rm(folders.run, { recursive: true, force: true });
}

async function removeAtLast(lease: Lease, options: ExtensionOptions, signal: AbortSignal): Promise<void> {
  const { subnetRemove, timeout } = options;
  if (!subnetRemove) return;
  const { variables, data: input } = lease;
  for (let left = LAST_TRIES; left > 0; left--) {
    try {
      await runCommand(subnetRemove, { variables, input, timeout, signal });
      return;
    } catch (error) {
      if (left === 1 || !(await pause(FIRST_RETRY, signal))) throw error;
    }
  }
}

function optionsFrom(options: object): ExtensionOptions {
  return extension.options(new Fields(options, 'Backend'), NO_RESOURCES);
}
