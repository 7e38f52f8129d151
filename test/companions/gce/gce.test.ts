import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { eventually } from '../../store/servers.ts';
import { CloudNode } from '../cloud-node.ts';
import { Google, type Instance, NETWORK } from './stand-in.ts';

/** Google with one instance, and its node, whose agent has started. */
async function site(t: TestContext, n = 1) {
  const google = await Google.start();
  t.after(async () => {
    await google[Symbol.asyncDispose]();
    assert.deepEqual(google.faults, [], 'every request is as the discovery document has it');
  });
  return { google, ...(await nodeIn(t, google, n)) };
}

async function nodeIn(t: TestContext, google: Google, n: number) {
  const instance = google.run(`vm-${n}`, `192.168.1.${n}`);
  google.here = instance;
  const node = new CloudNode(t, 'gce', n, instance.ip);
  const [subnet = ''] = node.node.subnets;
  return { instance, node, subnet, companions: await node.start() };
}

const stored = (destRange: string, to: object) => ({
  name: `some-${destRange.replace(/[./]/g, '-')}`,
  network: `https://compute.googleapis.com/compute/v1/${NETWORK}`,
  destRange,
  ...to,
});

test('a node routes its subnet to itself, as flannel names it, once, and takes that back', async (t) => {
  const { google, node, subnet, companions } = await site(t);
  // Other networks', and more than one page of them.
  const other = `https://www.googleapis.com/compute/v1/projects/host-project/global/networks/other`;
  for (const n of [7, 8, 9])
    google.routes.push({ ...stored(`10.244.${n}.0/24`, { nextHopGateway: 'g' }), network: other });
  node.tell([]);
  await eventually(() => companions.problem === undefined);
  assert.deepEqual(google.targets(subnet), ['vm-1']);
  assert.equal(google.routes.at(-1)?.name, 'flannel-10-244-1-0-24');
  assert.deepEqual(companions.warnings, []);
  assert.deepEqual(google.tokens, ['metadata'], 'one token serves many requests');

  const again = await node.start();
  google.methods.length = 0;
  node.tell([]);
  await eventually(() => google.methods.includes('compute.routes.list'));
  node.tell([], {}, { subnets: [parseCidr('10.244.200.0/24')] });
  await eventually(
    () => google.targets('10.244.200.0/24').length === 1 && google.targets(subnet).length === 0,
  );
  await eventually(() => again.problem === undefined);
  assert.equal(google.methods.filter((id) => id === 'compute.routes.insert').length, 1);
  await again.use('vxlan');
  await again.endOthers();
  assert.equal(google.routes.length, 3);
});

test('somebody else’s route is named and left; a former holder’s is replaced; a gone node’s goes', async (t) => {
  const { google, instance, node, subnet, companions } = await site(t);
  google.routes.push(
    stored(subnet, { nextHopGateway: 'projects/p/global/gateways/default-internet-gateway' }),
  );
  node.tell([]);
  await eventually(() => companions.warnings.length > 0);
  const [conflict] = companions.warnings;
  assert.equal(
    conflict?.what,
    `${NETWORK} sends ${subnet}, this node’s subnet, to projects/p/global/gateways/default-internet-gateway`,
  );
  assert.match(conflict?.fix ?? '', /gcloud compute routes delete some-10-244-1-0-24 --project host-project/);
  assert.match(companions.problem ?? '', /no route to this node’s pods yet/);
  // Beside its own, it still takes packets away. Of the dead ones, one has its own one's name.
  const dead = { nextHopInstance: google.link({ ...google.run('vm-9', '192.168.1.9'), name: 'deleted' }) };
  google.routes.push(
    { ...stored(subnet, { nextHopInstance: google.link(instance) }), name: 'ours' },
    { ...stored(subnet, dead), name: 'dead' },
  );
  const beside = await node.start();
  node.tell([]);
  await eventually(() => beside.problem === undefined && google.routes.length === 2);
  assert.equal(beside.warnings[0]?.id, 'cloud-route-conflict');
  google.routes.splice(
    0,
    2,
    { ...stored(subnet, dead), name: 'dead' },
    { ...stored(subnet, dead), name: 'flannel-10-244-1-0-24' },
  );
  const { looks: before } = node;
  const among = await node.start();
  node.tell([]);
  await eventually(() => node.looks > before);
  assert.deepEqual(among.warnings, []);
  assert.deepEqual(google.targets(subnet), ['vm-1']);
  google.routes.length = 0;

  // It has published a public address, which only Google can tell to be this instance's.
  const peer = google.run('vm-2', '192.168.1.2', '198.51.100.2');
  const gone = new CloudNode(t, 'gce', 2, '198.51.100.2');
  const [left = ''] = gone.node.subnets;
  google.routes.push(stored(subnet, { nextHopInstance: google.link({ ...peer, name: 'deleted' }) }));
  google.routes.push(stored(left, { nextHopInstance: google.link(peer) }));
  const { looks: then } = node;
  await node.start();
  node.tell([gone.node]);
  await eventually(() => node.looks > then);
  assert.deepEqual(google.targets(subnet), ['vm-1'], 'of an instance that is no more');
  assert.deepEqual(google.targets(left), ['vm-2']);
  node.tell([]);
  await eventually(() => google.targets(left).length === 0);

  // Its packets have come from the private one.
  const next = { ...gone.node, addresses: { 4: parseIp('198.51.100.9') }, senders: [parseIp(peer.ip)] };
  google.routes.splice(0, 1, stored(subnet, { nextHopInstance: google.link(peer) }));
  const third = await node.start();
  const { looks } = node;
  node.tell([next]);
  await eventually(() => node.looks > looks);
  assert.deepEqual(third.warnings, []);
  assert.deepEqual(google.targets(subnet), ['vm-1']);
});

/** A minute, more or less, is over sooner; the ten until the usual look are not. */
function hurryMinutes(t: TestContext): void {
  const { setTimeout } = globalThis;
  const sooner = (call: (...given: unknown[]) => void, ms = 0, ...rest: unknown[]) =>
    setTimeout(call, ms >= 30_000 && ms <= 90_000 ? 50 : ms, ...rest);
  t.mock.method(globalThis, 'setTimeout', sooner as typeof setTimeout);
}

test('whoever has changed a route looks again, though the look was overtaken', async (t) => {
  const { google, node, companions } = await site(t);
  hurryMinutes(t);
  google.before = (id) => {
    if (id !== 'compute.globalOperations.get') return;
    google.before = undefined;
    node.tell([], {}, { isMember: false });
    node.tell([]);
  };
  node.tell([]);
  // One look made the route, another overtook it: the third is a minute later.
  const count = (method: string) => google.methods.filter((id) => id === method).length;
  await eventually(() => count('compute.routes.list') >= 3 && companions.problem === undefined);
  assert.equal(google.before, undefined);
  assert.equal(count('compute.routes.insert'), 1);
});

test('whoever may have changed a route looks again, though the answer was an error', async (t) => {
  const { google, instance, node, subnet, companions } = await site(t);
  hurryMinutes(t);
  google.before = (id) => {
    if (id !== 'compute.globalOperations.get') return;
    google.before = undefined;
    google.routes.push(stored(subnet, { nextHopInstance: google.link(instance) }));
    google.refusal = { status: 403, reason: 'forbidden', message: 'not you', id };
  };
  node.tell([]);
  await eventually(() => node.looks === 2);
  assert.deepEqual([companions.problem, google.before], [undefined, undefined]);
  assert.equal(google.methods.filter((id) => id === 'compute.routes.insert').length, 1);
});

test('a node makes its route soon after somebody has removed what was in the way', async (t) => {
  const { google, node, subnet, companions } = await site(t);
  google.routes.push(stored(subnet, { nextHopGateway: 'g' }));
  hurryMinutes(t);
  node.tell([]);
  await eventually(() => companions.warnings.length > 0);
  google.routes.length = 0;
  await eventually(() => companions.problem === undefined);
  assert.deepEqual([companions.warnings, google.targets(subnet)], [[], ['vm-1']]);
  // Once its routes are as they should be, it looks no more for now.
  let last = { looks: node.looks, at: performance.now() };
  await eventually(() => {
    if (node.looks !== last.looks) last = { looks: node.looks, at: performance.now() };
    return performance.now() - last.at > 500;
  });
});

test('a gone node’s route is left if its subnet has another holder by then', async (t) => {
  const { google, node } = await site(t);
  const peer = google.run('vm-2', '192.168.1.2');
  const gone = new CloudNode(t, 'gce', 2, peer.ip).node;
  const [left = ''] = gone.subnets;
  const heir = google.run('vm-3', '192.168.1.3');
  const heirNode = { ...gone, name: 'node3', addresses: { 4: parseIp(heir.ip) } };
  const routeTo = (instance: Instance) => stored(left, { nextHopInstance: google.link(instance) });
  /** The method at which the heir comes, how often it is seen before, and what comes. */
  const makes = () => google.routes.splice(0, google.routes.length, routeTo(heir));
  for (const [method, seen, comes, deletes] of [
    ['compute.routes.list', 1, makes, 0],
    ['compute.routes.list', 1, () => node.tell([heirNode]), 0],
    ['compute.routes.delete', 0, makes, 1],
  ] as const) {
    google.routes.splice(0, google.routes.length, routeTo(peer));
    const companions = await node.start();
    const { looks } = node;
    node.tell([gone]);
    await eventually(() => companions.problem === undefined && node.looks === looks + 1);
    google.methods.length = 0;
    google.before = (id) => {
      if (id !== method || google.methods.filter((each) => each === method).length <= seen) return;
      google.before = undefined;
      comes();
    };
    node.tell([]);
    await eventually(() => node.looks === looks + 2);
    assert.equal(google.before, undefined);
    assert.equal(google.methods.filter((id) => id === 'compute.routes.delete').length, deletes, method);
    assert.equal(google.targets(left).length, 1);
    google.routes.length = 0;
  }
});

test('what Google refuses is named with its permission; a route that is there is believed', async (t) => {
  const { google, node, instance, subnet } = await site(t);
  /** What an agent says that starts now. */
  const says = async (pattern: RegExp): Promise<void> => {
    const companions = await node.start();
    node.tell([]);
    await eventually(() => pattern.test(companions.problem ?? ''));
  };
  const message = "Required 'compute.routes.create' permission for 'projects/host-project/global/routes/x'";
  google.refusal = { status: 403, reason: 'forbidden', message, id: 'compute.routes.insert' };
  await says(
    /compute\.routes\.create projects\/host-project\/global\/routes: is not allowed: .*; grant compute\.routes\.create/,
  );
  const scopes = 'Request had insufficient authentication scopes.';
  google.refusal = { status: 403, reason: 'insufficientPermissions', message: scopes };
  await says(
    /compute\.instances\.get .*insufficient authentication scopes.*; give the instance the access scope/,
  );
  const message404 = "The resource 'projects/host-project/global/networks/vpc' was not found";
  google.refusal = { status: 404, reason: 'notFound', message: message404, id: 'compute.routes.insert' };
  await says(/compute\.routes\.create .*status 404: The resource .* was not found/);
  google.refusal = undefined;
  google.operationError = { code: 'QUOTA_EXCEEDED', message: 'Quota ROUTES exceeded. Limit: 200' };
  await says(/compute\.routes\.create .*QUOTA_EXCEEDED: Quota ROUTES exceeded/);
  google.operationError = undefined;
  instance.canIpForward = false;
  google.revokeNext = true;
  const companions = await node.start();
  node.tell([]);
  await eventually(() => companions.problem === undefined);
  assert.match(companions.warnings[0]?.what ?? '', /^this instance, vm-1, drops pods’ packets/);

  const again = await node.start();
  google.refusal = { status: 403, reason: 'rateLimitExceeded', message: 'Rate Limit Exceeded' };
  node.tell([]);
  await eventually(() => again.warnings.length > 0);
  assert.equal(again.problem, undefined);
  assert.match(again.warnings[0]?.cause ?? '', /compute\.instances\.get .*Compute Engine limits requests/);
  assert.deepEqual(google.targets(subnet), ['vm-1']);
});

test('credentials come from a key file where one is named, and a wrong one is named', async (t) => {
  const { google, node } = await site(t);
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-key-'));
  const file = join(folder, 'key.json');
  process.env.GOOGLE_APPLICATION_CREDENTIALS = file;
  t.after(() => {
    delete process.env.GOOGLE_APPLICATION_CREDENTIALS;
    rmSync(folder, { recursive: true });
  });
  for (const [key, problem] of [
    [{ type: 'external_account' }, /key\.json: is of type 'external_account'; only/],
    [{ ...google.keyFile, client_email: 'other@example.com' }, /answers with status 400: as the test has it/],
    [{ ...google.keyFile, private_key: '' }, /key\.json: lacks private_key/],
    [google.keyFile, /^undefined$/],
  ] as const) {
    writeFileSync(file, JSON.stringify(key));
    const companions = await node.start();
    node.tell([]);
    await eventually(() => problem.test(`${companions.problem}`));
  }
  assert.deepEqual(google.tokens, ['key file']);
});
