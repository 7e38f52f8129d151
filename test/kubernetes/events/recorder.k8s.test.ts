import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { list } from '../../../src/kubernetes/api/list.ts';
import { asJson, type KubernetesObject } from '../../../src/kubernetes/api/object.ts';
import { EVENTS, type Happening } from '../../../src/kubernetes/events/event.ts';
import { EventRecorder } from '../../../src/kubernetes/events/recorder.ts';
import { recorder as recordingLog } from '../../async/fake-time.ts';
import { eventually } from '../../store/servers.ts';
import { ApiServer, NO_API_SERVER, NODES } from '../api-server.ts';
import { serviceAccount } from '../service-account.ts';

describe('events on a real API server', { skip: NO_API_SERVER }, () => {
  test('the same again is counted, a flood is limited, one that expired is written anew', async (t) => {
    const server = await ApiServer.start(t);
    const admin = server.client(t);
    const token = await serviceAccount(admin, 'reporter', [
      { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create', 'patch'] },
    ]);
    const node = await admin.create(NODES, { metadata: { name: 'n1' } });
    const events = (): Promise<readonly KubernetesObject[]> =>
      list(admin, EVENTS, (event) => event, {
        namespace: 'default',
        fieldSelector: 'reportingController=flatnet.dev/agent',
      }).then(({ items }) => items);
    const { uid = '' } = node.metadata;
    const { log, lines } = recordingLog();
    const happening: Happening = {
      regarding: { apiVersion: 'v1', kind: 'Node', name: 'n1', uid },
      type: 'Warning',
      reason: 'NoSubnet',
      action: 'JoinNetwork',
      note: `no podCIDR ${'é'.repeat(2000)}`,
    };
    const recorder = new EventRecorder({
      client: server.client(t, { access: server.access(token) }),
      reporter: { controller: 'flatnet.dev/agent', instance: 'n1' },
      log,
      signal: new AbortController().signal,
      burst: 5,
      interval: 3_600_000,
      repeat: 300,
    });
    for (let i = 0; i < 10; i++) recorder.record(happening);
    await recorder.idle();
    const [event, more] = await events();
    assert.ok(event && !more, JSON.stringify(lines));
    assert.deepEqual(
      [
        event.reason,
        event.type,
        event.reportingInstance,
        asJson(event.regarding).uid,
        asJson(event.series).count,
      ],
      ['NoSubnet', 'Warning', 'n1', uid, undefined],
    );
    await sleep(350);
    recorder.record(happening);
    await recorder.idle();
    assert.equal(asJson((await events())[0]?.series).count, 11);

    await admin.delete(EVENTS, { namespace: 'default', name: event.metadata.name });
    await sleep(350);
    recorder.record(happening);
    await recorder.idle();
    assert.equal((await events()).length, 1);

    // Three of five are spent.
    for (let i = 0; i < 30; i++) recorder.record({ ...happening, note: `trouble ${i}` });
    await recorder.idle();
    assert.equal((await events()).length, 3);
    assert.equal(recorder.unsaid, 28);
  });

  test('one that cannot be written is logged', async (t) => {
    const server = await ApiServer.start(t);
    const token = await serviceAccount(server.client(t), 'mute', []);
    const { log, lines } = recordingLog();
    const recorder = new EventRecorder({
      client: server.client(t, { access: server.access(token) }),
      reporter: { controller: 'flatnet.dev/agent', instance: 'n1' },
      log,
      signal: new AbortController().signal,
    });
    const regarding = { apiVersion: 'v1', kind: 'Pod', namespace: 'default', name: 'p' };
    recorder.record({ regarding, type: 'Normal', reason: 'Tested', action: 'Test', note: 'a note' });
    await recorder.idle();
    const said = /the verb create on events of API group \\"events\.k8s\.io\\"/;
    await eventually(() => said.test(JSON.stringify(lines)));
  });
});
