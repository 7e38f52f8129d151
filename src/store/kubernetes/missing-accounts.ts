import { pause } from '../../async/pause.ts';
import { messageOf } from '../../error.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { getIfAny } from '../../kubernetes/change.ts';
import type { Log } from '../../log.ts';
import type { Accounts, Unaccounted } from '../policies/accounts.ts';
import { SERVICE_ACCOUNTS } from './policy-kinds.ts';

/** Milliseconds between two looks. As a rule a watch tells of an account at once. */
const LOOK = 1000;
/** The most accounts that are asked for in a look. */
const MOST = 20;
/** Milliseconds until an account that is there, but that no watch has told of, is asked for again. */
const PATIENCE = 30_000;

export type MissingAccountsOptions = {
  readonly client: KubernetesClient;
  readonly log: Log;
};

/** Asks for the service accounts that pods have and no watch has told of: those that are gone. */
export class MissingAccounts {
  readonly #accounts: Accounts;
  readonly #options: MissingAccountsOptions;

  constructor(accounts: Accounts, options: MissingAccountsOptions) {
    this.#accounts = accounts;
    this.#options = options;
  }

  /** Until `signal` aborts. */
  async run(signal: AbortSignal, changed: () => void): Promise<void> {
    let before: ReadonlySet<string> = new Set();
    const asked = new Map<string, number>();
    while (await pause(LOOK, signal)) {
      const { lacking } = this.#accounts;
      const late = lacking.filter((each) => before.has(idOf(each)));
      before = new Set(lacking.map(idOf));
      const now = performance.now();
      for (const [account, until] of asked) if (until <= now) asked.delete(account);
      const due = [...Map.groupBy(late, accountOf)].filter(([account]) => !asked.has(account)).slice(0, MOST);
      for (const [account, pods] of due) {
        asked.set(account, now + PATIENCE);
        if (!(await this.#isGone(pods, signal))) continue;
        for (const pod of pods) this.#accounts.isGone(pod);
        changed();
      }
    }
  }

  async #isGone([pod]: readonly Unaccounted[], signal: AbortSignal): Promise<boolean> {
    if (!pod) return false;
    const { client, log } = this.#options;
    const { namespace, name } = pod;
    try {
      return (await getIfAny(client, SERVICE_ACCOUNTS, { namespace, name }, { signal })) === undefined;
    } catch (error) {
      const fields = { account: accountOf(pod), error: messageOf(error) };
      if (!signal.aborted) log.warn(fields, 'cannot ask for a service account');
      return false;
    }
  }
}

const accountOf = ({ namespace, name }: Unaccounted): string => `${namespace}/${name}`;
const idOf = ({ key, uid }: Unaccounted): string => `${key} ${uid}`;
