import { isDeepStrictEqual } from 'node:util';
import { background, logFailure } from '../../async/background.ts';
import { Latest } from '../../async/latest.ts';
import { pause } from '../../async/pause.ts';
import { untilDone } from '../../async/until-done.ts';
import { DEFAULT_BGP_CONFIGURATION } from '../../cluster/resources.ts';
import { messageOf } from '../../error.ts';
import type { Log } from '../../log.ts';
import { excerpt, type Problem, problemText } from '../../problem.ts';
import type { BgpFacts } from './configuration/facts.ts';
import { type BirdConfig, birdConfig } from './configuration/render.ts';
import { Bird } from './daemon/bird.ts';
import type { Listener } from './daemon/others.ts';
import { type MainTable, readMainTable } from './kernel/main-table.ts';
import { Paths } from './kernel/paths.ts';
import { routesOfBird, watchRoutes } from './kernel/routes-of-bird.ts';
import { Opening } from './opening.ts';
import { readSecrets, type Secrets } from './secrets.ts';
import type { Bgp } from './status/status.ts';

/** Batching window for lost routes, in milliseconds: a link that goes down loses all its routes at once. */
const GATHER = 100;
/**
 * Interval between wake-ups of BIRD, in milliseconds. BIRD 2.0 may sleep on work it has just queued for
 * itself, for up to 3 s or until something else happens (its io_loop checks for events before running the
 * code that queues some), which delays updates to a peer that has just come up. Any command wakes BIRD.
 */
const WAKE = 200;
/**
 * Interval between checks of the password files, in milliseconds: remounting a Secret or changing a mode
 * raises no reliable event.
 */
const SECRETS = 5000;
/** Interval between questions to BIRD about next hops it cannot reach, in milliseconds. */
const REACH = 3000;
/** Interval between checks that nobody else has BGP's port, in milliseconds. */
const PORT = 5000;

export type BgpSpeakerOptions = {
  /** BIRD's files. */
  readonly folder: string;
  /** The socket of the `bird-holder` that runs BIRD, if it is not to run beside the agent. */
  readonly holder?: string | undefined;
  /** Passwords, as files. */
  readonly secrets: string;
  /** The main routing table as it is now. */
  readonly table: MainTable;
  readonly log: Log;
  readonly signal: AbortSignal;
};

export type SpeakerFacts = Omit<BgpFacts, 'secrets' | 'gateways'>;

/** This node's BGP speaker: keeps a BIRD running with the configuration derived from the facts. */
export class BgpSpeaker implements AsyncDisposable {
  readonly #options: BgpSpeakerOptions;
  readonly #bird: Bird;
  readonly #apply: Latest<BirdConfig>;
  readonly #reload: Latest;
  readonly #reinstall: Latest;
  readonly #look: Latest;
  readonly #paths: Paths;
  readonly #opening = new Opening();
  #facts: SpeakerFacts | undefined;
  #secrets: Secrets | undefined;
  #config: BirdConfig | undefined;
  #problem: string | undefined = 'BIRD is not configured yet';
  #warnings: readonly string[] = [];
  /** Other programs on BGP's port. */
  #listeners: readonly Listener[] = [];

  constructor(options: BgpSpeakerOptions) {
    const { folder, holder, log, signal } = options;
    this.#options = options;
    this.#paths = new Paths(options.table);
    this.#bird = new Bird({ folder, holder, log, kernelRoutes: routesOfBird });
    this.#apply = new Latest('configure BIRD', (config, superseded) => this.#configure(config, superseded), {
      log,
      signal,
    });
    this.#reload = new Latest('reload routes', () => this.#reloadImports(), { log, signal });
    this.#reinstall = new Latest(
      'reinstall routes',
      () => this.#request('reinstall routes', () => this.#bird.reinstall()),
      {
        log,
        signal,
        gather: GATHER,
      },
    );
    this.#look = new Latest('read the routing table', () => this.#lookAtTable(), {
      log,
      signal,
      gather: GATHER,
    });
    background('watch BIRD’s routes', this.#watchRoutes(), log, signal);
    background(
      'keep BIRD awake',
      this.#every(WAKE, () => this.#wake()),
      log,
      signal,
    );
    background(
      'watch the next hops',
      this.#every(REACH, () => this.#checkNextHops()),
      log,
      signal,
    );
    background(
      'watch the port',
      this.#every(PORT, () => this.#checkPort()),
      log,
      signal,
    );
    background(
      'watch the passwords',
      this.#every(SECRETS, () => this.#checkSecrets()),
      log,
      signal,
    );
  }

  /** Ends the supervision. BIRD keeps running, and the next agent takes it over. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#bird[Symbol.asyncDispose]();
  }

  /** The running BGP, for `flatnet bgp`; undefined before the first configuration. */
  get running(): Bgp | undefined {
    if (!this.#config || !this.#facts) return undefined;
    const warnings = this.problems.map(problemText);
    return {
      bird: this.#bird,
      config: { ...this.#config, warnings },
      obstacles: this.#paths.obstacles(this.#facts),
    };
  }

  /** Why BGP is not running; undefined when it is. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Sessions that a BIRD which has just started is still to open; undefined once it had time for them. */
  get opening(): string | undefined {
    return this.#opening.waitsFor;
  }

  /** Why BIRD is not running, what keeps packets off its routes, and what could not be configured. */
  get problems(): readonly Problem[] {
    const { trouble } = this.#bird;
    const paths = this.#facts ? this.#paths.problems(this.#facts) : [];
    const incomplete = [...(trouble === undefined ? [] : [trouble]), ...this.#warnings];
    const { listenPort } = this.#facts?.resources.bgpConfiguration ?? DEFAULT_BGP_CONFIGURATION;
    const taken = this.#listeners.map(
      ({ pid, command }): Problem => ({
        id: 'bgp-port-taken',
        severity: 'error',
        what: `another program listens on port ${listenPort}, where this node's BIRD should`,
        cause: `${excerpt(command)} (process ${pid})`,
        fix: 'stop it, or set listenPort in the BGPConfiguration',
      }),
    );
    return [
      ...taken,
      ...paths,
      ...incomplete.map((what): Problem => ({ id: 'bgp-incomplete', severity: 'warning', what })),
    ];
  }

  /**
   * Reconfigures BIRD for new facts. When BIRD rejects the configuration, the previous one stays in effect
   * and the new one is retried.
   */
  update(facts: SpeakerFacts): void {
    this.#facts = facts;
    this.#secrets = readSecrets(this.#options.secrets, facts.resources);
    const { secrets, warnings } = this.#secrets;
    const config = birdConfig({ ...facts, secrets, gateways: this.#paths.gateways }, this.#bird.files.log);
    this.#warn([...warnings, ...config.warnings]);
    const isNew = config.text !== this.#config?.text;
    // Even with the same text, the reason for a session may have changed.
    this.#config = config;
    if (isNew) this.#apply.push(config);
  }

  /** Called when `tunl0` was created: routes that were refused without it are filtered again. */
  onTunnel(): void {
    if (this.#config) this.#reload.push();
  }

  async #configure(config: BirdConfig, superseded: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const work = async (): Promise<void> => {
      if (await this.#bird.apply(config.text))
        log.info({ sessions: config.sessions.length }, 'BIRD configured');
      await this.#opening.look({ bird: this.#bird, config });
      this.#problem = undefined;
    };
    const failed = (reason: string): void => {
      this.#problem = reason;
    };
    await untilDone('configure BIRD', work, { signal: superseded, log, failed });
  }

  /** Waits for the pending configuration first. */
  async #reloadImports(): Promise<void> {
    await this.#apply.idle();
    await this.#request('reload routes', () => this.#bird.reloadImports());
  }

  /** Reinstalls deleted routes. On its own, BIRD scans the kernel only every few seconds. */
  async #watchRoutes(): Promise<void> {
    const { signal, log } = this.#options;
    const watch = (): Promise<void> =>
      watchRoutes(signal, {
        lost: () => {
          if (this.#config) this.#reinstall.push();
        },
        foreign: () => this.#look.push(),
      });
    await untilDone('watch BIRD’s routes', watch, { signal, log });
  }

  /** Follows the routes of others: some lead to next hops, others are in the way of BIRD's. */
  async #lookAtTable(): Promise<void> {
    const before = this.#facts ? this.#paths.obstacles(this.#facts) : [];
    const changed = this.#paths.setTable(await readMainTable());
    if (!this.#facts) return;
    if (changed) this.update(this.#facts);
    const now = new Set(this.#paths.obstacles(this.#facts).map(({ text }) => text));
    // On its own, BIRD fills the place within 10 s.
    if (before.some(({ text }) => !now.has(text))) this.#reinstall.push();
  }

  async #checkNextHops(): Promise<void> {
    if (!this.#config) return;
    await this.#request('look for next hops it cannot reach', async () =>
      this.#paths.setUnreachable(await this.#bird.unreachable()),
    );
  }

  #checkPort(): void {
    if (!this.#facts) return;
    this.#listeners = this.#bird.otherListeners(this.#facts.resources.bgpConfiguration.listenPort);
  }

  /** Picks up passwords that were added, fixed or changed. */
  #checkSecrets(): void {
    if (!this.#facts) return;
    const now = readSecrets(this.#options.secrets, this.#facts.resources);
    if (!isDeepStrictEqual(now, this.#secrets)) this.update(this.#facts);
  }

  async #wake(): Promise<void> {
    const config = this.#config;
    if (!config) return;
    const look = (): Promise<unknown> => this.#opening.look({ bird: this.#bird, config });
    await this.#request('wake', this.#opening.isOver ? () => this.#bird.daemon() : look);
  }

  /** Requests something BIRD would do anyway, later; failures are only logged. */
  async #request(what: string, work: () => Promise<unknown>): Promise<void> {
    if (this.#options.signal.aborted) return;
    await work().catch((error: unknown) => {
      this.#options.log.debug({ what, error: messageOf(error) }, 'cannot reach BIRD');
    });
  }

  /** Repeats `work` until the signal aborts; a failure is logged. */
  async #every(ms: number, work: () => void | Promise<void>): Promise<void> {
    const { signal, log } = this.#options;
    while (await pause(ms, signal)) {
      try {
        await work();
      } catch (error) {
        logFailure('maintain BIRD', error, log);
      }
    }
  }

  #warn(warnings: readonly string[]): void {
    if (isDeepStrictEqual(warnings, this.#warnings)) return;
    if (warnings.length > 0) this.#options.log.warn({ warnings }, 'BGP is incomplete');
    this.#warnings = warnings;
  }
}
