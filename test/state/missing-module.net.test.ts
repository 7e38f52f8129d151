import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { FlatnetError } from '../../src/error.ts';
import { SILENT } from '../../src/log.ts';
import type { Item } from '../../src/state/item.ts';
import { Reconciler } from '../../src/state/reconciler.ts';
import { asOne } from '../desired/composed.ts';
import { Namespace, NO_KERNEL } from './namespace.ts';

test('a type of device the kernel lacks is reported with its module; everything else is in place', {
  skip: NO_KERNEL || (hasIpip() && 'this kernel has ipip'),
}, async () => {
  using namespace = new Namespace({ size: 1, families: [4], backend: { Type: 'host-gw' }, networks: 1 });
  using reconciler = new Reconciler({ netns: namespace.path, log: SILENT });
  const tunl0: Item = {
    kind: 'link',
    name: 'tunl0',
    link: { type: 'ipip' },
    up: true,
    mtu: 1480,
    alias: 'flatnet ipip',
    entries: 'kernel',
  };
  reconciler.setDesired(asOne([tunl0, { kind: 'sysctl', path: 'net/ipv4/ip_forward', value: '1' }]));
  const { done, undone } = await reconciler.run();
  assert.deepEqual(
    done.map(({ item }) => item.kind),
    ['sysctl'],
  );
  const [failure] = undone;
  assert.ok(failure?.error instanceof FlatnetError);
  assert.equal(failure.error.code, 'KERNEL_FEATURE');
  assert.match(
    failure.error.message,
    /^link add tunl0: this kernel does not support ipip devices .*load the module ipip/,
  );
});

function hasIpip(): boolean {
  try {
    execFileSync('unshare', ['--net', 'ip', 'link', 'add', 'probe', 'type', 'ipip', 'local', '127.0.0.1'], {
      stdio: 'ignore',
    });
    return true;
  } catch {
    return false;
  }
}
