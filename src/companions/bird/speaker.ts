import { isDeepStrictEqual } from 'node:util';
import { background, logFailure } from '../../async/background.ts';
import { Latest } from '../../async/latest.ts';
import { pause } from '../../async/pause.ts';
import { untilDone } from '../../async/until-done.ts';
import { messageOf } from '../../error.ts';
import type { Log } from '../../log.ts';
import type { BgpFacts } from './configuration/facts.ts';
import { type BirdConfig, birdConfig } from './configuration/render.ts';
import { Bird } from './daemon/bird.ts';
import { routesOfBird, watchRoutesOfBird } from './kernel-routes.ts';
import { readSecrets, type Secrets } from './secrets.ts';
import type { Bgp } from './status/status.ts';

/** Milliseconds in which lost routes gather: a link that goes down takes all its routes at once. */
const GATHER = 100;
/**
 * Milliseconds. BIRD 2.0 may sleep over work it has just made for itself, for up to 3 s or until anything
 * else happens (its io_loop looks for events before it runs what makes some): a peer that came up waits that
 * long for what BIRD has to tell it. Any command wakes BIRD.
 */
const WAKE = 200;
/**
 * Milliseconds between looks at the passwords' files: mounting a Secret anew, or changing a mode, makes no
 * event to rely on.
 */
const SECRETS = 5000;

export type BgpSpeakerOptions = {
  /** BIRD's files. */
  readonly folder: string;
  /** Passwords, as files. */
  readonly secrets: string;
  readonly log: Log;
  readonly signal: AbortSignal;
};

/** This node's BGP: its facts in, a running BIRD with the configuration that follows from them out. */
export class BgpSpeaker implements AsyncDisposable {
  readonly #options: BgpSpeakerOptions;
  readonly #bird: Bird;
  readonly #apply: Latest<BirdConfig>;
  readonly #reload: Latest;
  readonly #reinstall: Latest;
  #facts: Omit<BgpFacts, 'secrets'> | undefined;
  #secrets: Secrets | undefined;
  #config: BirdConfig | undefined;
  #problem: string | undefined = 'BIRD is not configured yet';
  #warnings: readonly string[] = [];

  constructor(options: BgpSpeakerOptions) {
    const { folder, log, signal } = options;
    this.#options = options;
    this.#bird = new Bird({ folder, log, kernelRoutes: routesOfBird });
    this.#apply = new Latest('configure BIRD', (config, superseded) => this.#configure(config, superseded), {
      log,
      signal,
    });
    this.#reload = new Latest('reload routes', () => this.#reloadImports(), { log, signal });
    this.#reinstall = new Latest(
      'put routes back',
      () => this.#tell('put routes back', () => this.#bird.reinstall()),
      {
        log,
        signal,
        gather: GATHER,
      },
    );
    background('watch BIRD’s routes', this.#watchRoutes(), log, signal);
    background(
      'keep BIRD awake',
      this.#every(WAKE, () => this.#wake()),
      log,
      signal,
    );
    background(
      'watch the passwords',
      this.#every(SECRETS, () => this.#lookAtSecrets()),
      log,
      signal,
    );
  }

  /** Ends the supervision; BIRD runs on, and the next agent takes it over. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#bird[Symbol.asyncDispose]();
  }

  /** What runs now, for `flatnet bgp`; undefined before the first configuration. */
  get running(): Bgp | undefined {
    return this.#config && { bird: this.#bird, config: { ...this.#config, warnings: this.warnings } };
  }

  /** Why BGP does not run; undefined when it does. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** What is configured and cannot be, and why BIRD does not run. */
  get warnings(): readonly string[] {
    const { trouble } = this.#bird;
    return trouble === undefined ? this.#warnings : [trouble, ...this.#warnings];
  }

  /** BIRD follows. When it rejects the configuration, the one before stays and this one is tried again. */
  update(facts: Omit<BgpFacts, 'secrets'>): void {
    this.#facts = facts;
    this.#secrets = readSecrets(this.#options.secrets, facts.resources);
    const { secrets, warnings } = this.#secrets;
    const config = birdConfig({ ...facts, secrets }, this.#bird.files.log);
    this.#warn([...warnings, ...config.warnings]);
    const isNew = config.text !== this.#config?.text;
    // Also with the same text: the reason for a session may have changed.
    this.#config = config;
    if (isNew) this.#apply.push(config);
  }

  /** `tunl0` is new: routes that were refused without it are looked at again. */
  tunnelMade(): void {
    if (this.#config) this.#reload.push();
  }

  async #configure(config: BirdConfig, superseded: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const work = async (): Promise<void> => {
      if (await this.#bird.apply(config.text))
        log.info({ sessions: config.sessions.length }, 'BIRD configured');
      this.#problem = undefined;
    };
    const failed = (reason: string): void => {
      this.#problem = reason;
    };
    await untilDone('configure BIRD', work, { signal: superseded, log, failed });
  }

  /** After the configuration that is on its way. */
  async #reloadImports(): Promise<void> {
    await this.#apply.idle();
    await this.#tell('reload routes', () => this.#bird.reloadImports());
  }

  /**
   * BIRD itself looks at the kernel every few seconds only; a route of BIRD's that someone deletes should be
   * back sooner.
   */
  async #watchRoutes(): Promise<void> {
    const { signal, log } = this.#options;
    const watch = (): Promise<void> =>
      watchRoutesOfBird(signal, () => {
        if (this.#config) this.#reinstall.push();
      });
    await untilDone('watch BIRD’s routes', watch, { signal, log });
  }

  /** A password written later, mended or changed counts without anything else happening. */
  #lookAtSecrets(): void {
    if (!this.#facts) return;
    const now = readSecrets(this.#options.secrets, this.#facts.resources);
    if (!isDeepStrictEqual(now, this.#secrets)) this.update(this.#facts);
  }

  async #wake(): Promise<void> {
    if (this.#config) await this.#tell('wake', () => this.#bird.daemon());
  }

  /** For what BIRD does anyway, only later. */
  async #tell(what: string, work: () => Promise<unknown>): Promise<void> {
    if (this.#options.signal.aborted) return;
    await work().catch((error: unknown) => {
      this.#options.log.debug({ what, error: messageOf(error) }, 'BIRD was not reached');
    });
  }

  /** Until the signal aborts; what fails is logged and done again the next time. */
  async #every(ms: number, work: () => void | Promise<void>): Promise<void> {
    const { signal, log } = this.#options;
    while (await pause(ms, signal)) {
      try {
        await work();
      } catch (error) {
        logFailure('look after BIRD', error, log);
      }
    }
  }

  #warn(warnings: readonly string[]): void {
    if (isDeepStrictEqual(warnings, this.#warnings)) return;
    if (warnings.length > 0) this.#options.log.warn({ warnings }, 'BGP is not whole');
    this.#warnings = warnings;
  }
}
