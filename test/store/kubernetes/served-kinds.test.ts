import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlatnetError } from '../../../src/error.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import type { ResourceType } from '../../../src/kubernetes/api/resource.ts';
import { SILENT } from '../../../src/log.ts';
import {
  CALICO_V1,
  calicoPolicyKinds,
  SERVICE_ACCOUNTS,
} from '../../../src/store/kubernetes/policy-kinds.ts';
import { ServedKinds } from '../../../src/store/kubernetes/served-kinds.ts';
import { eventually } from '../servers.ts';

const [SOON, LATER] = [10, 300];

/** A kind that notes what becomes of it. */
class Noted {
  readonly resource;
  isKnown = false;
  followed = 0;
  gone = 0;
  constructor(resource: ResourceType) {
    this.resource = resource;
  }
  async run(signal: AbortSignal): Promise<void> {
    this.followed++;
    await new Promise((ended) => signal.addEventListener('abort', ended));
    this.followed--;
  }
  none(): void {
    this.gone++;
  }
}

test('kinds are followed where the server has them, and given up only if they stay away', async (t) => {
  let served: readonly string[] | Error = [];
  const client: Pick<KubernetesClient, 'call'> = {
    call: async () => {
      if (served instanceof Error) throw served;
      if (served.length === 0) throw new FlatnetError('no such kind', { code: 'KIND_UNKNOWN' });
      return { resources: served.map((name) => ({ name })) };
    },
  };
  const kinds = calicoPolicyKinds(CALICO_V1)
    .slice(0, 2)
    .map((resource) => new Noted(resource));
  const [first, second] = kinds;
  const accounts = new Noted(SERVICE_ACCOUNTS);
  assert.ok(first && second);
  const options = { client, log: SILENT, companions: [accounts], looks: [SOON, LATER] } as const;
  const all = new ServedKinds(kinds, options);
  const ended = new AbortController();
  t.after(() => ended.abort());
  const running = all.run(ended.signal, () => {});

  await eventually(() => [...kinds, accounts].every(({ gone }) => gone === 1));
  served = [first.resource.plural];
  await eventually(() => first.followed === 1 && accounts.followed === 1);
  assert.deepEqual([second.followed, first.gone], [0, 1]);

  // A server that restarts: nothing is given up, and no answer is no absence.
  served = [];
  await eventually(() => all.outage === undefined);
  served = new FlatnetError('down', { code: 'STORE_UNAVAILABLE' });
  await eventually(() => /down/.test(all.outage?.reason ?? ''));
  served = [first.resource.plural, second.resource.plural];
  await eventually(() => second.followed === 1);
  assert.deepEqual([first.followed, first.gone, all.outage], [1, 1, undefined]);

  served = [];
  await eventually(() => [...kinds, accounts].every(({ gone }) => gone === 2));
  assert.deepEqual([first.followed, second.followed, accounts.followed], [0, 0, 0]);
  ended.abort();
  await running;
});
