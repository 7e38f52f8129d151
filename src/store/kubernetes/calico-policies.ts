import { pause } from '../../async/pause.ts';
import type { Labels } from '../../cluster/selector.ts';
import { codeOf, messageOf } from '../../error.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { apiVersionOf } from '../../kubernetes/api/resource.ts';
import type { Log } from '../../log.ts';
import type { Written } from '../../policy/collect.ts';
import { type Problem, warning } from '../../problem.ts';
import type { WrittenSet } from '../policies/network-sets.ts';
import type { Table } from '../policies/table.ts';
import { CalicoSource } from './calico-source.ts';
import { type CalicoVersion, calicoVersion, isNewerDefined } from './calico-version.ts';
import type { Outage } from './policy-kind.ts';
import { CALICO_V1, CALICO_V3 } from './policy-kinds.ts';
import { LOOKS, type Looks } from './served-kinds.ts';

type Options = { readonly client: KubernetesClient; readonly log: Log; readonly looks?: Looks };

/** What a cluster has of Calico's, wherever Calico has it at the time; nothing where there is no Calico. */
export class CalicoPolicies {
  readonly #options: Options;
  readonly #looks: Looks;
  #shown: CalicoSource | undefined;
  /** Whether no more is followed of what is shown: its objects have moved, and go. */
  #isLeft = false;
  /** What is to take its place once all of it is known. */
  #next: CalicoSource | undefined;
  /** Since when, by `performance.now()`, Calico's objects have seemed to be elsewhere. */
  #movedSince: number | undefined;
  /** Whether there are newer definitions that do not count. */
  #hasNeglected = false;
  #outage: Outage | undefined;

  constructor(options: Options) {
    this.#options = options;
    this.#looks = options.looks ?? LOOKS;
  }

  get policies(): readonly Table<Written>[] {
    return this.#shown?.policies.map(({ table }) => table) ?? [];
  }

  get sets(): readonly Table<WrittenSet>[] {
    return this.#shown?.sets.map(({ table }) => table) ?? [];
  }

  get serviceAccounts(): Table<Labels> | undefined {
    return this.#shown?.accounts.table;
  }

  /** By name; undefined while it is not certain that these are all. */
  get allAccounts(): ReadonlyMap<string, Labels> | undefined {
    return this.#shown?.accounts.areAll ? this.#shown.accounts.table.values : undefined;
  }

  get isKnown(): boolean {
    return this.#shown?.isKnown ?? false;
  }

  /** Where Calico's objects are read, if there are any kinds of them. */
  get origin(): string | undefined {
    return this.#shown?.isServed ? apiVersionOf(this.#shown.version) : undefined;
  }

  get outage(): Outage | undefined {
    return this.#outage ?? this.#shown?.outage ?? this.#next?.outage;
  }

  get problems(): readonly Problem[] {
    if (!this.#hasNeglected) return [];
    const [older, newer] = [CALICO_V1, CALICO_V3].map(apiVersionOf);
    const what = `policies of these kinds are not enforced: ${newer}`;
    const cause = `Calico’s older definitions, ${older}, are there, too, and they count as long as no DatastoreMigration is complete`;
    return [warning('policies-unfollowed', what, cause, 'migrate, or delete the definitions not in use')];
  }

  /** Until `signal` aborts. */
  async run(signal: AbortSignal, changed: () => void): Promise<void> {
    const [soon, later] = this.#looks;
    do {
      await this.#look(signal, changed);
    } while (await pause(this.#isDecided ? later * (0.5 + Math.random() / 2) : soon + 10, signal));
  }

  get #isDecided(): boolean {
    return !this.#outage && this.#movedSince === undefined && this.#shown !== undefined;
  }

  async #look(signal: AbortSignal, changed: () => void): Promise<void> {
    try {
      const found = await calicoVersion(this.#options.client, signal);
      this.#follow(found, signal, changed);
      this.#hasNeglected = await this.#neglects(found, signal);
      this.#outage = undefined;
    } catch (error) {
      if (codeOf(error) === undefined) throw error;
      this.#outage = { since: this.#outage?.since ?? new Date(), reason: messageOf(error) };
    }
  }

  #follow({ version, isMigrated }: CalicoVersion, signal: AbortSignal, changed: () => void): void {
    if (version === this.#shown?.version && !this.#isLeft) {
      this.#movedSince = undefined;
      this.#next?.end();
      this.#next = undefined;
      return;
    }
    if (version === this.#next?.version) return;
    // A server that has just started lacks what it has not read yet; of a migration, it has a record.
    const now = performance.now();
    this.#movedSince ??= now;
    const [soon, later] = this.#looks;
    const isCertain = isMigrated || (version === CALICO_V1 && !this.#shown);
    if (!isCertain && now - this.#movedSince < (this.#shown ? later : soon)) return;
    this.#movedSince = undefined;
    const source = new CalicoSource(version, this.#options);
    if (this.#shown) {
      this.#next?.end();
      this.#next = source;
      // Until the others are known, which may take long, their objects' end must open nothing.
      if (isMigrated) this.#leave(this.#shown);
    } else this.#shown = source;
    source.run(signal, () => {
      if (source === this.#next && source.isKnown) this.#replace(source);
      if (source === this.#shown) changed();
    });
  }

  #leave(shown: CalicoSource): void {
    shown.end();
    this.#isLeft = true;
  }

  /** All at once: what is in one place goes with nothing that is in the other. */
  #replace(source: CalicoSource): void {
    this.#shown?.end();
    this.#shown = source;
    this.#isLeft = false;
    this.#next = undefined;
    const { log } = this.#options;
    log.info({ from: apiVersionOf(source.version) }, 'Calico’s policies are read elsewhere now');
  }

  async #neglects({ version }: CalicoVersion, signal: AbortSignal): Promise<boolean> {
    if (version !== CALICO_V1 || !this.#shown?.isServed) return false;
    try {
      return await isNewerDefined(this.#options.client, signal);
    } catch (error) {
      if (codeOf(error) === 'NOT_FOUND') return false;
      // Nobody is worse off without the hint: that the server does not answer is said by those who need it.
      this.#options.log.debug({ reason: messageOf(error) }, 'cannot ask whether Calico’s v3 is defined');
      return this.#hasNeglected;
    }
  }
}
