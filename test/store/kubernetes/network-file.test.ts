import assert from 'node:assert/strict';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { kubeconfigAccess } from '../../../src/kubernetes/access/kubeconfig-access.ts';
import { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { SILENT } from '../../../src/log.ts';
import { KubernetesNetwork } from '../../../src/store/kubernetes/network.ts';
import { temporaryFolder } from '../servers.ts';

test('the configuration in a mounted file: read and followed without the API', async (t) => {
  const folder = temporaryFolder();
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'net-conf.json');
  // Nothing listens there.
  const access = kubeconfigAccess({
    cluster: { server: 'https://127.0.0.1:1' },
    user: {},
    namespace: 'default',
  });
  const client = new KubernetesClient({ access });
  t.after(() => client.close());
  const network = new KubernetesNetwork({
    client,
    log: SILENT,
    check: () => {},
    namespace: 'default',
    configMap: 'kube-flannel-cfg',
    file,
  });
  await assert.rejects(network.read(), {
    code: 'NOT_FOUND',
    message: /mount the ConfigMap kube-flannel-cfg/,
  });
  const abort = new AbortController();
  const texts = network.follow(abort.signal);
  assert.equal((await texts.next()).value, undefined);
  // As the kubelet replaces it: at once.
  const write = (text: string): void => {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  };
  for (const length of [24, 25]) {
    const text = JSON.stringify({ Network: '10.244.0.0/16', SubnetLen: length });
    write(text);
    assert.equal((await texts.next()).value, text);
    assert.equal((await network.read()).pools[4]?.subnetLength, length);
  }
  write('{"Network": 7}');
  await assert.rejects(network.read(), { code: 'CONFIG_INVALID', message: /Network/ });
  abort.abort();
});
