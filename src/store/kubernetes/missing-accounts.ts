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
    while (await pause(LOOK, signal)) {
      const { lacking } = this.#accounts;
      const late = lacking.filter((each) => before.has(idOf(each)));
      before = new Set(lacking.map(idOf));
      const byAccount = [...Map.groupBy(late, accountOf).values()].slice(0, MOST);
      for (const pods of byAccount) {
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
